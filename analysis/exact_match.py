"""Exact Match by suite and by number of hops, arms compared with the seed as the unit.

Every function takes the episodes of one split at one step (e.g. `load_episodes(frames, ["eval"], last_only=True)`).
With several answers a question (sampled evaluation) a question's score is its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare import format_p, interval_columns, number_or_blank
from analysis.episode_frames import Episodes
from analysis.frames import CHANGE_RANGE, SHARE_RANGE
from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.stats.aggregate import (
    iqm,
    jackknife_seeds,
    probability_of_improvement,
    profile_band,
    seed_question_bootstrap,
)
from analysis.stats.cluster import paired_questions, two_way_cluster
from analysis.stats.permutation import mean_interval
from analysis.stats.proportions import mcnemar, paired_table
from analysis.stats.types import DegenerateInput


@dataclass(frozen=True)
class Scores:
    """Scores of one arm on one suite: matrix [seeds, questions], rows and columns labelled, questions sorted."""

    matrix: np.ndarray
    seeds: tuple[int, ...]
    questions: tuple[int, ...]


def score_matrix(data: Episodes, arm: str, suite: str | None = None, column: str = "em") -> Scores:
    """Scores [seeds, questions] of an arm (all suites together if None).

    Raises DegenerateInput when the arm has no episode there or its seeds answered different questions.
    """
    frame = data.episodes
    mask = frame["arm"] == arm
    if suite is not None:
        mask &= frame["suite"] == suite
    rows = frame.loc[mask, ["seed", "question", column]]
    where = f"{arm}, {suite or 'all suites'}"
    if rows.empty:
        raise DegenerateInput(f"{where}: no episode")
    wide = rows.groupby(["seed", "question"])[column].mean().unstack()
    missing = int(wide.isna().to_numpy().sum())
    if missing:
        raise DegenerateInput(f"{where}: seeds answered different questions ({missing} of {wide.size} cells missing)")
    return Scores(
        wide.to_numpy(dtype=np.float64), tuple(int(s) for s in wide.index), tuple(int(q) for q in wide.columns)
    )


def unequal_questions(data: Episodes) -> list[str]:
    """A sentence for each suite on which the trials did not answer the same questions."""
    out = []
    for suite, rows in data.episodes.groupby("suite", observed=True):
        sets = {str(t): frozenset(g["question"]) for t, g in rows.groupby("trial", observed=True)}
        absent = [str(t) for t in data.episodes["trial"].unique() if str(t) not in sets]
        sets |= dict.fromkeys(absent, frozenset())
        if len(set(sets.values())) > 1:
            sizes = sorted({len(s) for s in sets.values()})
            out.append(
                f"The trials answered different questions of {suite} ({', '.join(map(str, sizes))} of them, "
                f"{len(frozenset.intersection(*sets.values()))} shared by all): their EM there is not comparable, and "
                "nothing is paired."
            )
    return out


def by_hops(data: Episodes, level: float = 0.95) -> pd.DataFrame:
    """arm, hops, seeds, questions, em, low, high, f1, lenient: seed means, t interval. Unknown hops are dropped."""
    return _by(data, "hops", level)


def by_suite(data: Episodes, level: float = 0.95) -> pd.DataFrame:
    """`by_hops` by suite."""
    return _by(data, "suite", level)


def by_held_out(data: Episodes, level: float = 0.95) -> pd.DataFrame:
    """`by_hops` by held-out entities (held_out 0 or 1)."""
    return _by(data, "held_out", level)


def _by(data: Episodes, key: str, level: float) -> pd.DataFrame:
    frame = data.episodes
    if key in ("hops", "held_out"):
        frame = frame[frame[key] >= 0]
    rows = []
    means = frame.groupby(["arm", key, "seed"], observed=True)[["em", "f1", "lenient"]].mean()
    sizes = frame.groupby(["arm", key], observed=True)["question"].nunique()
    for (arm, value), group in means.groupby(level=[0, 1], observed=True):
        estimate = mean_interval(group["em"], level)
        rows.append(
            {
                "arm": str(arm),
                key: value if key == "suite" else int(value),
                "seeds": len(group),
                "questions": int(sizes.loc[(arm, value)]),
                "em": number_or_blank(estimate.value),
                **interval_columns(estimate, within=SHARE_RANGE),
                "f1": float(group["f1"].mean()),
                "lenient": float(group["lenient"].mean()),
            }
        )
    return pd.DataFrame(rows, columns=["arm", key, "seeds", "questions", "em", "low", "high", "f1", "lenient"])


def cross_checks(data: Episodes, contrasts: Sequence[ArmContrast], plan: AnalysisPlan) -> pd.DataFrame:
    """Beside the permutation test: two-way cluster t and seed-and-question bootstrap, by contrast and suite.

    Where a cell cannot be computed its columns are empty and `note` gives the reason.
    """
    rows = []
    for contrast in contrasts:
        for suite in _suites(data):
            row: dict[str, object] = {"contrast": contrast.label, "suite": suite}
            note = ""
            try:
                a, b = (score_matrix(data, arm, suite) for arm in (contrast.treatment, contrast.baseline))
                if a.questions != b.questions:
                    raise DegenerateInput("the arms answered different questions")
                estimate, test = two_way_cluster(a.matrix, b.matrix, plan.level)
                boot = seed_question_bootstrap(a.matrix, b.matrix, plan.level)
                row |= {
                    "questions": len(a.questions),
                    "difference": number_or_blank(estimate.value),
                    **interval_columns(estimate, "cluster_", CHANGE_RANGE),
                }
                row |= {
                    "cluster_p": number_or_blank(test.p),
                    **interval_columns(boot, "bootstrap_", CHANGE_RANGE),
                    "method": test.method,
                }
                note = estimate.note
            except DegenerateInput as error:
                note = str(error)
            rows.append(row | {"note": note})
    columns = (
        "contrast suite questions difference cluster_low cluster_high cluster_p bootstrap_low bootstrap_high method"
    )
    return pd.DataFrame(rows, columns=[*columns.split(), "note"]).fillna("")


def checkpoint_claims(
    data: Episodes, contrasts: Sequence[ArmContrast], plan: AnalysisPlan, together: bool = False
) -> pd.DataFrame:
    """McNemar and Miller's paired SE of seed s of one arm against seed s of the other: claims about checkpoints only.

    By suite, or over all suites `together`. Seeds that both arms ran; `a_only`, `b_only` count questions that one
    checkpoint alone answers. Greedy split only: with several answers a question there is no 0/1 outcome to pair.
    """
    rows = []
    for contrast in contrasts:
        for suite in [None] if together else _suites(data):
            try:
                a, b = (score_matrix(data, arm, suite) for arm in (contrast.treatment, contrast.baseline))
            except DegenerateInput:
                continue
            if a.questions != b.questions:
                continue
            for seed in sorted(set(a.seeds) & set(b.seeds)):
                x, y = a.matrix[a.seeds.index(seed)], b.matrix[b.seeds.index(seed)]
                if not (np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all()) or x.size < 2:
                    continue
                table = paired_table(x, y)
                estimate, _ = paired_questions(x, y, level=plan.level)
                rows.append(
                    {
                        "contrast": contrast.label,
                        "suite": suite or "all",
                        "seed": seed,
                        "questions": x.size,
                        "a_only": int(table[0, 1]),
                        "b_only": int(table[1, 0]),
                        "difference": number_or_blank(estimate.value),
                        **interval_columns(estimate, within=CHANGE_RANGE),
                        "p_mcnemar": number_or_blank(mcnemar(table).p),
                        "claim": "these two checkpoints only",
                    }
                )
    columns = "contrast suite seed questions a_only b_only difference low high p_mcnemar claim"
    return pd.DataFrame(rows, columns=columns.split())


def checkpoint_sentence(claims: pd.DataFrame, alpha: float) -> str:
    """Counts of checkpoint claims in either direction: their disagreement shows why they are no claim about
    algorithms."""
    if claims.empty:
        return "No pair of checkpoints shares a seed and a question set."
    significant = claims[claims["p_mcnemar"] <= alpha]
    plus, minus = (significant["difference"] > 0).sum(), (significant["difference"] < 0).sum()
    least = format_p(float(claims["p_mcnemar"].min()))
    return (
        f"Of {len(claims)} pairs of checkpoints with the same seed, {plus} favour the first arm and {minus} the second "
        f"at p ≤ {alpha:g} (smallest {least}, uncorrected). Each is a statement about two checkpoints, none about the "
        "algorithms."
    )


def _suites(data: Episodes) -> list[str]:
    return sorted(str(s) for s in data.episodes["suite"].unique())


def suite_scores(data: Episodes, arm: str, column: str = "em") -> np.ndarray:
    """Mean score [seeds, suites] of an arm; raises DegenerateInput when a seed lacks a suite."""
    frame = data.episodes[data.episodes["arm"] == arm]
    wide = frame.groupby(["seed", "suite"], observed=True)[column].mean().unstack()
    if wide.empty or wide.isna().to_numpy().any():
        raise DegenerateInput(f"{arm}: not every seed was scored on every suite")
    return wide.to_numpy(dtype=np.float64)


def aggregates(
    data: Episodes, arms: Sequence[str], contrasts: Sequence[ArmContrast], level: float = 0.95
) -> pd.DataFrame:
    """measure (IQM of an arm, P(improvement) of a contrast), of, value, low, high, seeds, method, note; units:
    seeds."""
    scores = {}
    for arm in arms:
        try:
            scores[arm] = suite_scores(data, arm)
        except DegenerateInput:
            continue
    found = [("IQM", arm, jackknife_seeds([m], iqm, level)) for arm, m in scores.items()]
    for c in contrasts:
        if c.treatment in scores and c.baseline in scores:
            pair = [scores[c.treatment], scores[c.baseline]]
            if pair[0].shape[1] == pair[1].shape[1]:
                label = f"{c.treatment} > {c.baseline}"
                found.append(("P(improvement)", label, jackknife_seeds(pair, probability_of_improvement, level)))
    rows = [
        {
            "measure": what,
            "of": label,
            "value": number_or_blank(e.value),
            **interval_columns(e, within=SHARE_RANGE),
            "seeds": e.n,
            "method": e.interval.method if e.interval else e.note,
            "note": e.note,
        }
        for what, label, e in found
    ]
    return pd.DataFrame(rows, columns=["measure", "of", "value", "low", "high", "seeds", "method", "note"])


def profiles(data: Episodes, arms: Sequence[str], level: float = 0.95, points: int = 101) -> pd.DataFrame:
    """arm, threshold, share, low, high: share of (seed, suite) scores above each threshold in [0, 1]."""
    grid = np.linspace(0, 1, points)
    tables = []
    for arm in arms:
        try:
            share, low, high = profile_band(suite_scores(data, arm), grid, level)
        except DegenerateInput:
            continue
        tables.append(pd.DataFrame({"arm": arm, "threshold": grid, "share": share, "low": low, "high": high}))
    columns = ["arm", "threshold", "share", "low", "high"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
