"""Robustness to prompt perturbations: compliance and EM by perturbation, and their spread.

Perturbations are a crossed factor: every seed is evaluated under each. The spread over perturbations is reported beside
the mean, EM beside a lenient score (a perturbed prompt may change the form of an answer without changing its truth).
The unperturbed evaluation counts as the perturbation "none".
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.compare import SeedValues, interval_columns, number_or_blank
from analysis.episode_frames import GREEDY_SPLIT, PROMPT_SPLITS, Episodes
from analysis.frames import SHARE_RANGE, Frames
from analysis.stats.permutation import mean_interval
from analysis.stats.types import DegenerateInput

UNPERTURBED = "none"


def perturbed_episodes(data: Episodes) -> pd.DataFrame:
    """Episodes of the greedy and the prompt-perturbed splits with columns perturbation and complied (no failure)."""
    split = data.episodes["split"].astype(str)
    names = np.where(split == GREEDY_SPLIT, UNPERTURBED, split.str.removeprefix(PROMPT_SPLITS))
    keep = (split == GREEDY_SPLIT) | split.str.startswith(PROMPT_SPLITS)
    frame = data.episodes.assign(perturbation=names, complied=(data.episodes["failures"] == 0).astype(float))
    return frame[keep]


def seed_prompt_table(data: Episodes) -> pd.DataFrame:
    """arm, seed, perturbation, em, lenient, complied: suites weigh the same.

    Raises DegenerateInput without a perturbed split.
    """
    frame = perturbed_episodes(data)
    if set(frame["perturbation"]) <= {UNPERTURBED}:
        raise DegenerateInput(f"no evaluation under another prompt (no split is named {PROMPT_SPLITS}…)")
    by_suite = frame.groupby(["arm", "seed", "perturbation", "suite"], observed=True)[
        ["em", "lenient", "complied"]
    ].mean()
    return by_suite.groupby(level=[0, 1, 2], observed=True).mean().reset_index()


def by_perturbation(data: Episodes, level: float = 0.95) -> pd.DataFrame:
    """arm, perturbation, seeds, em with low, high, lenient, compliance with its interval."""
    rows = []
    for (arm, name), g in seed_prompt_table(data).groupby(["arm", "perturbation"], observed=True):
        em, complied = mean_interval(g["em"], level), mean_interval(g["complied"], level)
        rows.append(
            {
                "arm": str(arm),
                "perturbation": name,
                "seeds": len(g),
                "em": number_or_blank(em.value),
                **interval_columns(em, within=SHARE_RANGE),
            }
            | {"lenient": float(g["lenient"].mean()), "compliance": number_or_blank(complied.value)}
            | interval_columns(complied, "compliance_", SHARE_RANGE)
        )
    return pd.DataFrame(rows)


def prompt_spreads(data: Episodes) -> pd.DataFrame:
    """arm, seed, mean, worst, spread (best − worst over perturbations), sd: of EM, one row a seed.

    Raises DegenerateInput when seeds differ in their perturbations: spreads would not be comparable.
    """
    wide = seed_prompt_table(data).pivot(index=["arm", "seed"], columns="perturbation", values="em")
    wide = wide.dropna(how="all")
    if wide.isna().to_numpy().any():
        raise DegenerateInput("not every seed was evaluated under every perturbation")
    values = wide.to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "mean": values.mean(axis=1),
            "worst": values.min(axis=1),
            "spread": np.ptp(values, axis=1),
            "sd": values.std(axis=1, ddof=1) if values.shape[1] > 1 else 0.0,
        },
        index=wide.index,
    ).reset_index()


def prompt_spread_table(data: Episodes, level: float = 0.95) -> pd.DataFrame:
    """arm, seeds, perturbations, mean, worst, spread with low, high: means over seeds."""
    n = seed_prompt_table(data)["perturbation"].nunique()
    rows = []
    for arm, g in prompt_spreads(data).groupby("arm", observed=True):
        spread = mean_interval(g["spread"], level)
        rows.append(
            {"arm": str(arm), "seeds": len(g), "perturbations": n, "mean": float(g["mean"].mean())}
            | {
                "worst": float(g["worst"].mean()),
                "spread": number_or_blank(spread.value),
                **interval_columns(spread, within=SHARE_RANGE),
            }
        )
    return pd.DataFrame(rows)


def seed_prompt_spreads(data: Episodes) -> SeedValues:
    """(mean EM | worst EM | spread, arm) → one value a seed, for `compare_arms`."""
    frame = prompt_spreads(data)
    names = {"mean": "mean over prompts", "worst": "worst prompt", "spread": "spread over prompts"}
    return {
        (label, str(arm)): g.set_index("seed")[column]
        for column, label in names.items()
        for arm, g in frame.groupby("arm", observed=True)
    }


def prompt_cross_table(data: Episodes, frames: Frames, axis: str, column: str = "em") -> pd.DataFrame:
    """Mean of `column` by the arms' setting of `axis` (rows: prompt trained under) and evaluation prompt (columns)."""
    trained = {label: str(arm.settings.get(axis)) for label, arm in frames.arms.items()}
    table = seed_prompt_table(data)
    table["trained under"] = table["arm"].astype(str).map(trained)
    return table.pivot_table(index="trained under", columns="perturbation", values=column, aggfunc="mean")
