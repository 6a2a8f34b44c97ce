"""Does the policy notice and repair what went wrong? Injected faults against fault-free twins, and natural slips.

An exposure is an episode into which a fault was injected; its twin is the same question, trial, step and sampling seed
without injection, so that the two are alike up to the first fault and the difference in EM is the fault's effect.

    detected   after the fault the policy called more operators than its twin did
    recovered  the answer is right all the same
    effect     EM(fault) − EM(twin), a causal risk difference; seed by seed, then over seeds

Recovery is timed in turns from the faulted call to the right answer; an episode that never recovers is censored at the
cap (an answer that is wrong stays wrong: it did not leave the risk set early).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from analysis.compare import ends, number
from analysis.episodes import FAULTED, GREEDY, TWIN, Episodes
from analysis.plan import Contrast
from analysis.stats.permutation import mean_interval
from analysis.stats.proportions import clustered_wilson, wilson
from analysis.stats.regression import Fit, gee_logit
from analysis.stats.results import DegenerateInput
from analysis.stats.survival import Survival, kaplan_meier
from harness.protocol.scoring import exact_match

_PAIR = ["trial", "step", "suite", "question", "sample_seed"]
CORRECTORS = ("Review", "Revise", "ScEnsemble")
_CANDIDATE = re.compile(r"(?:Answer: |\[Answer \d+\] )(?!Thought: )([^\n\[]+)")


def exposures(data: Episodes, cap: int | None = None) -> pd.DataFrame:
    """One row a pair whose faulted episode was exposed.

    trial, arm, seed, suite, question, hops, fault (kind of the first), fault_turn, operator (that was faulted),
    em_fault, em_twin, detected, recovered, time (turns from the fault to the right answer, or the cap), next and
    next_twin (what the policy did in the turn after). `cap`: turns an episode may have (default: the most seen).
    Raises DegenerateInput when an exposed episode has no twin, or there is none exposed.
    """
    faulted = data.split(FAULTED)
    twins = data.split(TWIN)
    if twins.episodes.empty:
        twins = data.split(GREEDY)
    exposed = faulted.of(faulted.episodes["faults"] > 0)
    if exposed.episodes.empty:
        raise DegenerateInput("no episode was exposed to an injected fault")
    first = exposed.turns[exposed.turns["fault"].notna()].groupby("episode").first()
    frame = exposed.episodes.assign(
        fault=first["fault"].astype(str), fault_turn=first["turn"], operator=first["result_of"].astype(str)
    )
    frame["calls"] = _calls(exposed)
    frame["row"] = np.arange(len(frame))
    twin = twins.episodes.assign(calls=_calls(twins), row=np.arange(len(twins.episodes)))
    keys = [*_PAIR, "em", "calls", "row", "n_turns"]
    pairs = frame.merge(twin[keys], on=_PAIR, how="left", suffixes=("", "_twin"), validate="one_to_one")
    if pairs["em_twin"].isna().any():
        raise DegenerateInput(f"{int(pairs['em_twin'].isna().sum())} exposed episodes have no fault-free twin")
    most = cap if cap is not None else int(max(pairs["n_turns"].max(), pairs["n_turns_twin"].max()))
    right = pairs["em"] == 1
    out = pairs[["trial", "arm", "seed", "suite", "question", "hops", "fault", "fault_turn", "operator"]].copy()
    out["em_fault"], out["em_twin"] = pairs["em"].astype(float), pairs["em_twin"].astype(float)
    out["detected"] = pairs["calls"] > pairs["calls_twin"]
    out["recovered"] = right
    last = pairs["n_turns"] - 1
    out["time"] = np.where(right, last - pairs["fault_turn"], most - 1 - pairs["fault_turn"]).clip(min=1)
    out["next"] = _action_at(exposed, pairs["row"], pairs["fault_turn"] + 1)
    out["next_twin"] = _action_at(twins, pairs["row_twin"], pairs["fault_turn"] + 1)
    return out


def _calls(data: Episodes) -> np.ndarray:
    called = data.turns["operator"].notna().to_numpy()
    return np.bincount(data.turns["episode"].to_numpy()[called], minlength=len(data.episodes))


def actions(data: Episodes) -> np.ndarray:
    """What each turn did: an operator's name, "answer", another action's kind, or "malformed"."""
    turns = data.turns
    named = turns["operator"].astype(object).where(turns["operator"].notna(), turns["action"].astype(object))
    return named.where(named.notna(), "malformed").to_numpy(dtype=object)


def _action_at(data: Episodes, rows: pd.Series, turn: pd.Series) -> np.ndarray:
    start = np.cumsum(data.episodes["n_turns"].to_numpy(dtype=np.int64)) - data.episodes["n_turns"].to_numpy()
    done = actions(data)
    row = rows.to_numpy(dtype=np.int64)
    inside = turn.to_numpy() < data.episodes["n_turns"].to_numpy()[row]
    at = np.where(inside, start[row] + turn.to_numpy(), 0)
    return np.where(inside, done[at] if len(done) else "", "(ended)")


def table(pairs: pd.DataFrame, by: Sequence[str] = ("arm",), level: float = 0.95) -> pd.DataFrame:
    """`by`…, exposures, questions, seeds, detected, recovered with low, high, em_twin, effect with interval, hurt.

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
                "detected": float(group["detected"].mean()),
                "recovered": number(recovered.value),
                **ends(recovered),
                "em_twin": float(group["em_twin"].mean()),
                "effect": number(effect.value),
                **ends(effect, "effect_"),
                "hurt": number(float((lost["em_fault"] == 0).mean()) if len(lost) else None),
            }
        )
    columns = "exposures questions seeds detected recovered low high em_twin effect effect_low effect_high hurt"
    return pd.DataFrame(rows, columns=[*by, *columns.split()])


def _effects(pairs: pd.DataFrame) -> pd.Series:
    return pairs.assign(effect=pairs["em_fault"] - pairs["em_twin"]).set_index("seed")["effect"]


def seed_effects(pairs: pd.DataFrame, by: str | None = None) -> dict[tuple[str, str], pd.Series]:
    """(group, arm) → risk difference of each seed, for `compare`; `by` e.g. "fault" or "suite"."""
    frame = pairs.assign(effect=pairs["em_fault"] - pairs["em_twin"], everything="all faults")
    from analysis.compare import seed_values

    return seed_values(frame, by or "everything", "effect")


def seed_recovery(pairs: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """("P(recover | fault)", arm) → share of each seed, for `compare`."""
    from analysis.compare import seed_values

    return seed_values(pairs.assign(what="P(recover | fault)", value=pairs["recovered"].astype(float)), "what", "value")


def recovery_curves(pairs: pd.DataFrame, level: float = 0.95) -> dict[str, Survival]:
    """arm → Kaplan–Meier of P(not yet recovered) by turns since the fault."""
    return {
        str(arm): kaplan_meier(group["time"], group["recovered"], level)
        for arm, group in pairs.groupby("arm", observed=True)
    }


def interaction(pairs: pd.DataFrame, contrast: Contrast, level: float = 0.95) -> Fit:
    """GEE logit of EM on fault × arm over exposures and twins, clustered by question: term `fault x arm`."""
    rows = pairs[pairs["arm"].isin([contrast.treatment, contrast.baseline])]
    if rows.empty:
        raise DegenerateInput(f"{contrast.label}: no exposure")
    arm = np.tile((rows["arm"] == contrast.treatment).to_numpy(dtype=float), 2)
    fault = np.repeat([1.0, 0.0], len(rows))
    outcome = np.concatenate([rows["em_fault"], rows["em_twin"]])
    columns = {"fault": fault, "arm": arm, "fault x arm": fault * arm}
    return gee_logit(outcome, columns, np.tile(rows["question"].to_numpy(), 2), level)


def after_fault(pairs: pd.DataFrame) -> pd.DataFrame:
    """fault, next, count, share, twin_count: what the policy does right after a fault, and its twin at that turn."""
    counts = pairs.groupby(["fault", "next"]).size().rename("count")
    twin = pairs.groupby(["fault", "next_twin"]).size().rename("twin_count").rename_axis(["fault", "next"])
    out = pd.concat([counts, twin], axis=1).fillna(0).astype(int).reset_index()
    out["share"] = out["count"] / out.groupby("fault")["count"].transform("sum")
    return out.sort_values(["fault", "next"], ignore_index=True)[["fault", "next", "count", "share", "twin_count"]]


STATES = ("call", "failed call", "faulted call", "malformed", "answer", "no answer")


def failure_transitions(data: Episodes) -> pd.DataFrame:
    """Counts of state → state from one turn to the next, a frame over STATES. The last two states end an episode.

    call: executed; failed call: the operator gave no useful result; faulted call: with an injected fault; malformed:
    warned.
    """
    turns = data.turns
    malformed = turns["action"].isna().to_numpy()
    answered = (turns["action"] == "answer").to_numpy()
    faulted, failed = turns["fault"].notna().to_numpy(), turns["operator_failure"].notna().to_numpy()
    state = np.select([malformed, answered, faulted, failed], [3, 4, 2, 1], default=0)
    owner = turns["episode"].to_numpy()
    same = owner[1:] == owner[:-1]
    matrix = np.zeros((len(STATES), len(STATES)), dtype=np.int64)
    np.add.at(matrix, (state[:-1][same], state[1:][same]), 1)
    if len(turns):
        last = np.append(~same, True)
        np.add.at(matrix, (state[last & ~answered], np.full((last & ~answered).sum(), 5)), 1)
    return pd.DataFrame(matrix, index=list(STATES), columns=list(STATES))


def operator_transitions(data: Episodes) -> pd.DataFrame:
    """Counts of action → next action after a call that failed or was faulted; rows and columns are operator names."""
    turns = data.turns
    done = actions(data)
    owner = turns["episode"].to_numpy()
    bad = (turns["operator_failure"].notna() | turns["fault"].notna()).to_numpy()
    at = np.flatnonzero((owner[1:] == owner[:-1]) & bad[:-1]) if len(turns) else np.zeros(0, dtype=int)
    pairs = pd.DataFrame({"from": done[at], "to": done[at + 1]}) if len(at) else pd.DataFrame({"from": [], "to": []})
    return pd.crosstab(pairs["from"], pairs["to"])


def slips(data: Episodes) -> pd.DataFrame:
    """One row an episode: arm, first (turn of the first malformed turn, or turns), failed, recovery, recovered.

    first/failed: time to the first parse failure and whether it came. recovery/recovered: turns from it to the next
    well-formed turn, for episodes that failed (0 otherwise).
    """
    turns, n = data.turns, len(data.episodes)
    owner, number_, ok = (turns[c].to_numpy() for c in ("episode", "turn", "ok"))
    lengths = data.episodes["n_turns"].to_numpy(dtype=np.int64)
    first = lengths.copy()
    bad = np.flatnonzero(~ok)
    np.minimum.at(first, owner[bad], number_[bad])
    failed = first < lengths
    back = lengths.copy()
    good = np.flatnonzero(ok & (number_ > first[owner]))
    np.minimum.at(back, owner[good], number_[good])
    recovered = failed & (back < lengths)
    waited = np.where(recovered, back - first, np.maximum(lengths - 1 - first, 0))
    return pd.DataFrame(
        {
            "arm": data.episodes["arm"].to_numpy() if n else [],
            "first": np.where(failed, first + 1, lengths),
            "failed": failed,
            "recovery": np.where(failed, waited, 0),
            "recovered": recovered,
        }
    )


def slip_curves(data: Episodes, level: float = 0.95) -> tuple[dict[str, Survival], dict[str, Survival]]:
    """arm → turns to the first parse failure (censored at the episode's end); arm → turns from it to recovery."""
    rows = slips(data)
    first = {str(a): kaplan_meier(g["first"], g["failed"], level) for a, g in rows.groupby("arm", observed=True)}
    hit = rows[rows["failed"]]
    back = {str(a): kaplan_meier(g["recovery"], g["recovered"], level) for a, g in hit.groupby("arm", observed=True)}
    return first, back


def second_looks(data: Episodes, splits: Sequence[str] = (GREEDY,)) -> pd.DataFrame:
    """Does a second look help or hurt? One row an episode that called one of CORRECTORS after a candidate answer.

    arm, seed, question, before (the last candidate an operator gave before the first corrector was right), after (EM).
    Reads observations and gold answers of the given splits: use it on one evaluation, not on training.
    """
    owner = {(t, s, p): path for (t, s, p), path in data.source.items() if p in splits}
    meta = data.episodes.drop_duplicates("trial").set_index("trial")[["arm", "seed"]]
    columns = ["question_id", "suite", "gold", "em"]
    columns += [f"turns.list.element.{c}" for c in ("operator", "observation", "action_text")]
    rows: list[dict[str, Any]] = []
    for (trial, _, _), path in owner.items():
        if trial not in meta.index:
            continue
        for episode in pq.ParquetFile(path).read(columns=columns).to_pylist():
            before = _before_correction(episode["turns"], episode["gold"])
            if before is not None:
                rows.append(
                    {"arm": meta.at[trial, "arm"], "seed": int(meta.at[trial, "seed"])}
                    | {"question": f"{episode['suite']}/{episode['question_id']}"}
                    | {"before": before, "after": episode["em"] == 1}
                )
    return pd.DataFrame(rows, columns=["arm", "seed", "question", "before", "after"])


def _before_correction(turns: list[dict[str, Any]], gold: list[str]) -> bool | None:
    candidate: str | None = None
    for turn in turns:
        if turn["operator"] in CORRECTORS:
            return None if candidate is None else exact_match(candidate, gold) == 1
        found = _CANDIDATE.findall(turn["observation"] or "")
        candidate = found[-1].strip() if found else candidate
    return None


def second_look_table(looks: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """arm, looks, right_kept, right_lost, wrong_fixed, wrong_kept, hurt with low, high, helped."""
    rows = []
    for arm, g in looks.groupby("arm", observed=True):
        kept, lost = int((g["before"] & g["after"]).sum()), int((g["before"] & ~g["after"].astype(bool)).sum())
        fixed, stuck = int((~g["before"].astype(bool) & g["after"]).sum()), 0
        stuck = len(g) - kept - lost - fixed
        hurt = wilson(lost, kept + lost, level) if kept + lost else None
        rows.append(
            {
                "arm": str(arm),
                "looks": len(g),
                "right_kept": kept,
                "right_lost": lost,
                "wrong_fixed": fixed,
                "wrong_kept": stuck,
                "hurt": number(hurt and hurt.value),
                **ends(hurt),
                "helped": number(fixed / (fixed + stuck) if fixed + stuck else None),
            }
        )
    columns = "arm looks right_kept right_lost wrong_fixed wrong_kept hurt low high helped"
    return pd.DataFrame(rows, columns=columns.split())
