"""Transitions between turns without injected faults: recovery from malformed turns, and the effect of reviewing an
answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.compare import interval_columns, number_or_blank
from analysis.episode_frames import GREEDY_SPLIT, Episodes
from analysis.stats.proportions import clustered_wilson
from analysis.stats.survival import Survival, kaplan_meier
from harness.operators import SECOND_LOOKS, with_role
from harness.protocol.scoring import exact_match
from harness.runs.episode_store import open_episodes

CORRECTORS = with_role(SECOND_LOOKS)
_CANDIDATE = re.compile(r"(?:Answer: |\[Answer \d+\] )(?!Thought: )([^\n\[]+)")


def turn_actions(data: Episodes) -> np.ndarray:
    """Action of each turn: an operator's name, "answer", another action's kind, or "malformed"."""
    turns = data.turns
    named = turns["operator"].astype(object).where(turns["operator"].notna(), turns["action"].astype(object))
    return named.where(named.notna(), "malformed").to_numpy(dtype=object)


TURN_STATES = ("call", "failed call", "faulted call", "malformed", "answer", "no answer")


def failure_transitions(data: Episodes) -> pd.DataFrame:
    """Counts of state → state from one turn to the next, a frame over TURN_STATES. The last two states end an episode.

    call: executed; failed call: operator failure; faulted call: injected fault; malformed: answered by a warning.
    """
    turns = data.turns
    malformed = turns["action"].isna().to_numpy()
    answered = (turns["action"] == "answer").to_numpy()
    faulted, failed = turns["fault"].notna().to_numpy(), turns["operator_failure"].notna().to_numpy()
    state = np.select([malformed, answered, faulted, failed], [3, 4, 2, 1], default=0)
    owner = turns["episode"].to_numpy()
    same = owner[1:] == owner[:-1]
    matrix = np.zeros((len(TURN_STATES), len(TURN_STATES)), dtype=np.int64)
    np.add.at(matrix, (state[:-1][same], state[1:][same]), 1)
    if len(turns):
        last = np.append(~same, True)
        np.add.at(matrix, (state[last & ~answered], np.full((last & ~answered).sum(), 5)), 1)
    return pd.DataFrame(matrix, index=list(TURN_STATES), columns=list(TURN_STATES))


def operator_transitions(data: Episodes) -> pd.DataFrame:
    """Counts of action → next action after a call that failed or was faulted; rows and columns are operator names."""
    turns = data.turns
    done = turn_actions(data)
    owner = turns["episode"].to_numpy()
    bad = (turns["operator_failure"].notna() | turns["fault"].notna()).to_numpy()
    at = np.flatnonzero((owner[1:] == owner[:-1]) & bad[:-1]) if len(turns) else np.zeros(0, dtype=int)
    pairs = pd.DataFrame({"from": done[at], "to": done[at + 1]}) if len(at) else pd.DataFrame({"from": [], "to": []})
    return pd.crosstab(pairs["from"], pairs["to"])


def parse_failure_times(data: Episodes) -> pd.DataFrame:
    """One row an episode: arm, question, first (first malformed turn, or the last turn), failed, recovery, recovered.

    first/failed: time to the first parse failure and whether it occurred. recovery/recovered: turns from it to the next
    well-formed turn, for episodes that failed (0 otherwise).
    """
    turns = data.turns
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
            "arm": data.episodes["arm"].array,
            "question": data.episodes["question"].to_numpy(),
            "first": np.where(failed, first + 1, lengths),
            "failed": failed,
            "recovery": np.where(failed, waited, 0),
            "recovered": recovered,
        }
    )


def parse_failure_curves(data: Episodes, level: float = 0.95) -> tuple[dict[str, Survival], dict[str, Survival]]:
    """arm → turns to the first parse failure (censored at the episode's end); arm → turns from it to recovery.

    Bands are clustered by question.
    """
    rows = parse_failure_times(data)
    hit = rows[rows["failed"]]

    def curve(g: pd.DataFrame, time: str, event: str) -> Survival:
        return kaplan_meier(g[time], g[event], level, g["question"])

    first = {str(a): curve(g, "first", "failed") for a, g in rows.groupby("arm", observed=True)}
    back = {str(a): curve(g, "recovery", "recovered") for a, g in hit.groupby("arm", observed=True)}
    return first, back


def candidate_reviews(data: Episodes, splits: Sequence[str] = (GREEDY_SPLIT,)) -> pd.DataFrame:
    """Effect of reviewing an answer: one row an episode that called one of CORRECTORS after a candidate answer.

    arm, seed, question, before (the last candidate answer before the first corrector was right), after (EM).
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
        for episode in open_episodes(path).read(columns=columns).to_pylist():
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


def candidate_review_table(looks: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """arm, looks, right_kept, right_lost, wrong_fixed, wrong_kept, hurt with low, high, helped.

    `hurt`: of right candidates the share that ended wrong, design-effect Wilson with questions as clusters.
    """
    rows = []
    for arm, g in looks.groupby("arm", observed=True):
        kept, lost = int((g["before"] & g["after"]).sum()), int((g["before"] & ~g["after"].astype(bool)).sum())
        fixed = int((~g["before"].astype(bool) & g["after"]).sum())
        stuck = len(g) - kept - lost - fixed
        right = g[g["before"].astype(bool)]
        cells = (~right["after"].astype(bool)).groupby(right["question"]).agg(["sum", "size"])
        hurt = clustered_wilson(cells["sum"], cells["size"], level) if len(cells) else None
        rows.append(
            {
                "arm": str(arm),
                "looks": len(g),
                "right_kept": kept,
                "right_lost": lost,
                "wrong_fixed": fixed,
                "wrong_kept": stuck,
                "hurt": number_or_blank(hurt.value if hurt else None),
                **interval_columns(hurt),
                "helped": number_or_blank(fixed / (fixed + stuck) if fixed + stuck else None),
            }
        )
    columns = "arm looks right_kept right_lost wrong_fixed wrong_kept hurt low high helped"
    return pd.DataFrame(rows, columns=columns.split())
