"""Frequency of operator calls by arm, split and step."""

from __future__ import annotations

import pandas as pd

from analysis.compare import interval_columns, number_or_blank
from analysis.episode_frames import Episodes
from analysis.stats.proportions import clustered_wilson, rule_of_three

OPERATOR_USE_COLUMNS = ["arm", "split", "step", "operator", "episodes", "calls", "called", "share", "low", "high"]


def operator_use(data: Episodes, level: float = 0.95) -> pd.DataFrame:
    """Calls of each operator, one row an arm, split, step and operator (columns: OPERATOR_USE_COLUMNS).

    calls: turns; called: episodes with at least one; share: called / episodes, Wilson with the design effect of
    questions, for none the rule of three with one trial a question. An operator called in any arm has a row in every
    arm, so that zero calls are visible.
    """
    by = ["arm", "split", "step", "question"]
    sizes = data.episodes.groupby(by, observed=True).size()
    turns = data.turn_frame(*by)
    turns = turns[turns["operator"].notna()]
    rows = []
    for operator in sorted(turns["operator"].astype(str).unique()):
        mine = turns[turns["operator"] == operator]
        calls = mine.groupby(by[:3], observed=True).size()
        hit = mine.drop_duplicates("episode").groupby(by, observed=True).size().reindex(sizes.index, fill_value=0)
        for key, size in sizes.groupby(level=by[:3], observed=True):
            sums = hit.loc[size.index]
            estimate = clustered_wilson(sums, size, level)
            bounds = interval_columns(estimate) if sums.sum() else {"low": 0.0, "high": rule_of_three(len(size), level)}
            rows.append(
                {
                    **dict(zip(by, key, strict=False)),
                    "operator": operator,
                    "episodes": int(size.sum()),
                    "calls": int(calls.get(key, 0)),
                    "called": int(sums.sum()),
                    "share": number_or_blank(estimate.value),
                    **bounds,
                }
            )
    table = pd.DataFrame(rows, columns=OPERATOR_USE_COLUMNS)
    table["arm"] = pd.Categorical(table["arm"], data.episodes["arm"].cat.categories)  # arms in their order
    return table.sort_values(OPERATOR_USE_COLUMNS[:4], ignore_index=True)
