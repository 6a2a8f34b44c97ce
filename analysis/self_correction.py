"""Self-correction after injected faults, against fault-free counterparts ("twins").

Faults are injected by `harness.env.fault_injection` (`python -m harness.evaluation.fault_demo` shows one). Terms are
those of `harness.env.fault_detection`, which classifies every faulted episode: exposed, detected, accepted, unaffected,
recovered. An exposure is an episode with an exposed fault (the first counts); its twin is the same
question, trial, step and sampling seed without injection: the two are alike up to the first fault, and the difference
in EM is the effect of faults.

    effect     EM(fault) − EM(twin), a causal risk difference; seed by seed, then over seeds

Recovery is timed in turns from the faulted call to the right answer; an episode that never recovers is censored at the
cap (an answer that is wrong stays wrong: it did not leave the risk set early).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.compare import interval_columns, number_or_blank
from analysis.episode_frames import COUNTERFACTUAL_SPLIT, FAULTED_SPLIT, GREEDY_SPLIT, Episodes, read_rows
from analysis.frames import CHANGE_RANGE, Frames
from analysis.registered_plan import ArmContrast
from analysis.stats.permutation import mean_interval
from analysis.stats.proportions import clustered_wilson
from analysis.stats.regression import Fit, gee_logit
from analysis.stats.survival import Survival, kaplan_meier
from analysis.stats.types import DegenerateInput
from analysis.transitions import turn_actions
from harness.env.fault_detection import Response, fires_without_fault, read_faults
from harness.runs.episode_loader import trajectory
from harness.types import Trajectory

POOL_SETTING = "environment.pool"
RESPONSES = ("detected", "detected_twin", "accepted", "unaffected")
_PAIR = ["trial", "step", "suite", "question", "sample_seed"]


def exposures(data: Episodes, cap: int | None = None, frames: Frames | None = None) -> pd.DataFrame:
    """One row a pair whose faulted episode was exposed.

    trial, arm, seed, suite, question, hops, fault (kind of the first), fault_turn, operator (that was faulted),
    em_fault, em_twin, detected, accepted, unaffected (one of them), detected_twin (the detector fires at that turn of
    the twin, which read the true observation), extra_calls (more than the twin made), recovered,
    time (turns from the fault to the right answer, or to the cap), next and next_twin (action in the turn
    after), pool (of operators, as the arm sets it; "" where `frames` are not given).
    `cap`: turn limit of an episode (default: the maximum observed). Reads the texts of exposed episodes.
    Raises DegenerateInput when an exposed episode has no twin, or none is exposed.
    """
    faulted = data.split(FAULTED_SPLIT)
    twins = data.split(COUNTERFACTUAL_SPLIT)
    if twins.episodes.empty:
        twins = data.split(GREEDY_SPLIT)
    struck = faulted.of(faulted.episodes["faults"] > 0)
    played = _trajectories(struck)
    readings = [next((r for r in read_faults(t) if r.exposed), None) for t in played]
    exposed = struck.of(np.array([r is not None for r in readings], dtype=bool))
    found = [r for r in readings if r is not None]
    if not found:
        raise DegenerateInput("no episode was exposed to an injected fault")
    frame = exposed.episodes.assign(
        fault=[r.kind for r in found],
        fault_turn=[r.turn for r in found],
        operator=_at_turn(exposed, [r.turn for r in found], "result_of"),
        recovered=[r.recovered for r in found],
        waited=[-1 if r.turns_to_recovery is None else r.turns_to_recovery for r in found],
        calls=_calls(exposed),
        row=np.arange(len(found)),
    )
    for response in Response:
        frame[response.value] = [r.response is response for r in found]
    twin = twins.episodes.assign(calls=_calls(twins), row=np.arange(len(twins.episodes)))
    keys = [*_PAIR, "em", "calls", "row", "n_turns"]
    pairs = frame.merge(twin[keys], on=_PAIR, how="left", suffixes=("", "_twin"), validate="one_to_one")
    if pairs["em_twin"].isna().any():
        raise DegenerateInput(f"{int(pairs['em_twin'].isna().sum())} exposed episodes have no fault-free counterpart")
    most = cap if cap is not None else int(max(pairs["n_turns"].max(), pairs["n_turns_twin"].max()))
    kept = ["trial", "arm", "seed", "suite", "question", "hops", "fault", "fault_turn", "operator", "recovered"]
    out = pairs[[*kept, *(r.value for r in Response)]].copy()
    struck_and_read = [t for t, r in zip(played, readings, strict=True) if r is not None]
    out["detected_twin"] = _base_rate(twins, pairs["row_twin"], struck_and_read, [r.turn for r in found])
    out["em_fault"], out["em_twin"] = pairs["em"].astype(float), pairs["em_twin"].astype(float)
    out["extra_calls"] = pairs["calls"] - pairs["calls_twin"]
    out["time"] = np.where(pairs["recovered"], pairs["waited"], most - 1 - pairs["fault_turn"]).clip(min=1)
    pools = {label: arm.value(POOL_SETTING) or "" for label, arm in frames.arms.items()} if frames is not None else {}
    out["pool"] = [str(pools.get(str(arm), "")) for arm in out["arm"]]
    out["next"] = _action_at(exposed, pairs["row"], pairs["fault_turn"] + 1)
    out["next_twin"] = _action_at(twins, pairs["row_twin"], pairs["fault_turn"] + 1)
    return out


def _trajectories(data: Episodes) -> list[Trajectory]:
    """Every episode with its texts."""
    out: list[Trajectory | None] = [None] * len(data.episodes)
    for (trial, step, split), rows in data.episodes.groupby(["trial", "step", "split"], observed=True):
        found = read_rows(data.source[str(trial), int(step), str(split)], rows["index"].tolist())
        for position, row in zip(rows.index, found, strict=True):
            out[position] = trajectory(row)
    return [t for t in out if t is not None]


def _base_rate(twins: Episodes, rows: pd.Series, faulted: Sequence[Trajectory], turns: Sequence[int]) -> list[bool]:
    """Whether the detector fires in the twin of each exposed episode; `rows` are the twins' numbers."""
    wanted = np.zeros(len(twins.episodes), dtype=bool)
    wanted[rows.to_numpy(dtype=np.int64)] = True
    place = np.cumsum(wanted) - 1
    shown = _trajectories(twins.of(wanted))
    return [
        fires_without_fault(shown[place[row]], t, turn)
        for row, t, turn in zip(rows.astype(int), faulted, turns, strict=True)
    ]


def _at_turn(data: Episodes, turn: Sequence[int], column: str) -> np.ndarray:
    """Text of a column of each episode's given turn."""
    lengths = data.episodes["n_turns"].to_numpy(dtype=np.int64)
    return data.turns[column].astype(str).to_numpy()[np.cumsum(lengths) - lengths + np.asarray(turn, dtype=np.int64)]


def _calls(data: Episodes) -> np.ndarray:
    called = data.turns["operator"].notna().to_numpy()
    return np.bincount(data.turns["episode"].to_numpy()[called], minlength=len(data.episodes))


def _action_at(data: Episodes, rows: pd.Series, turn: pd.Series) -> np.ndarray:
    start = np.cumsum(data.episodes["n_turns"].to_numpy(dtype=np.int64)) - data.episodes["n_turns"].to_numpy()
    done = turn_actions(data)
    row = rows.to_numpy(dtype=np.int64)
    inside = turn.to_numpy() < data.episodes["n_turns"].to_numpy()[row]
    at = np.where(inside, start[row] + turn.to_numpy(), 0)
    return np.where(inside, done[at] if len(done) else "", "(ended)")


def exposure_table(pairs: pd.DataFrame, by: Sequence[str] = ("arm",), level: float = 0.95) -> pd.DataFrame:
    """`by`…, exposures, questions, seeds, RESPONSES, recovered, em_twin, effect, hurt.

    `detected_twin`: the base rate of `detected`, which is how often the detector fires on the true observation. Tables
    without that column are by the first detector, which also counted doubt of anything else.

    `recovered`: design-effect Wilson with questions as clusters. `effect`: mean over seeds with t interval. `hurt`:
    share of exposures whose twin was right and which ended wrong.
    """
    rows = []
    for key, group in pairs.groupby(list(by), observed=True):
        cells = group.groupby("question")["recovered"].agg(["sum", "size"])
        recovered = clustered_wilson(cells["sum"], cells["size"], level)
        effect = mean_interval(_effects(group).groupby(level="seed").mean(), level)
        lost = group[group["em_twin"] == 1]
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "exposures": len(group),
                "questions": len(cells),
                "seeds": group["seed"].nunique(),
                **{name: float(group[name].mean()) for name in RESPONSES},
                "recovered": number_or_blank(recovered.value),
                **interval_columns(recovered),
                "em_twin": float(group["em_twin"].mean()),
                "effect": number_or_blank(effect.value),
                **interval_columns(effect, "effect_", CHANGE_RANGE),
                "hurt": number_or_blank(float((lost["em_fault"] == 0).mean()) if len(lost) else None),
            }
        )
    columns = (
        f"exposures questions seeds {' '.join(RESPONSES)} recovered low high em_twin effect effect_low effect_high hurt"
    )
    return pd.DataFrame(rows, columns=[*by, *columns.split()])


def fault_counts(data: Episodes) -> pd.DataFrame:
    """arm, episodes, struck, exposed: episodes under injected faults, those that met one, those whose policy read one
    and took a further turn."""
    faulted = data.split(FAULTED_SPLIT)
    struck = faulted.of(faulted.episodes["faults"] > 0)
    read = [any(r.exposed for r in read_faults(t)) for t in _trajectories(struck)]
    exposed = struck.of(np.array(read, dtype=bool))
    counts = {
        name: part.episodes["arm"].astype(str).value_counts()
        for name, part in (("episodes", faulted), ("struck", struck), ("exposed", exposed))
    }
    return pd.DataFrame(counts).reindex(counts["episodes"].index).fillna(0).astype(int).rename_axis("arm").reset_index()


def _effects(pairs: pd.DataFrame) -> pd.Series:
    return pairs.assign(effect=pairs["em_fault"] - pairs["em_twin"]).set_index("seed")["effect"]


def seed_fault_effects(pairs: pd.DataFrame, by: str | None = None) -> dict[tuple[str, str], pd.Series]:
    """(group, arm) → risk difference of each seed, for `compare_arms`; `by` e.g. "fault" or "suite"."""
    frame = pairs.assign(effect=pairs["em_fault"] - pairs["em_twin"], everything="all faults")
    from analysis.compare import group_seed_values

    return group_seed_values(frame, by or "everything", "effect")


def seed_recovery(pairs: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """("P(recover | fault)", arm) → share of each seed, for `compare_arms`."""
    from analysis.compare import group_seed_values

    return group_seed_values(
        pairs.assign(what="P(recover | fault)", value=pairs["recovered"].astype(float)), "what", "value"
    )


def recovery_curves(pairs: pd.DataFrame, level: float = 0.95) -> dict[str, Survival]:
    """arm → Kaplan–Meier of P(not yet recovered) by turns since the fault."""
    return {
        str(arm): kaplan_meier(group["time"], group["recovered"], level, group["question"])
        for arm, group in pairs.groupby("arm", observed=True)
    }


def fault_interaction(pairs: pd.DataFrame, contrast: ArmContrast, level: float = 0.95) -> Fit:
    """GEE logit of EM on fault × arm over exposures and twins, clustered by run: term `fault x arm`.

    Clusters are runs: the claim is about algorithms, and clustering by question rejects too often (`make calibrate`).
    """
    rows = pairs[pairs["arm"].isin([contrast.treatment, contrast.baseline])]
    if rows.empty:
        raise DegenerateInput(f"{contrast.label}: no exposure")
    arm = np.tile((rows["arm"] == contrast.treatment).to_numpy(dtype=float), 2)
    fault = np.repeat([1.0, 0.0], len(rows))
    outcome = np.concatenate([rows["em_fault"], rows["em_twin"]])
    columns = {"fault": fault, "arm": arm, "fault x arm": fault * arm}
    return gee_logit(outcome, columns, np.tile(rows["trial"].astype(str), 2), level)


def after_fault(pairs: pd.DataFrame) -> pd.DataFrame:
    """fault, next, count, share, twin_count: the action right after a fault, and the twin's at that turn."""
    counts = pairs.groupby(["fault", "next"]).size().rename("count")
    twin = pairs.groupby(["fault", "next_twin"]).size().rename("twin_count").rename_axis(["fault", "next"])
    out = pd.concat([counts, twin], axis=1).fillna(0).astype(int).reset_index()
    out["share"] = out["count"] / out.groupby("fault")["count"].transform("sum")
    return out.sort_values(["fault", "next"], ignore_index=True)[["fault", "next", "count", "share", "twin_count"]]
