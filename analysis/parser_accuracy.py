"""The parser's own accuracy on known boundaries: in sample, held out, and on real turns. Depends on no study."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from harness.protocol.reliability.benchmark import UNIT, accuracy_by_set

PARSER_NOTE = (
    f"{UNIT} in sample: malformations that the parser's recovery was written for; held out: other ones; real turns: of "
    "SmolLM2-135M-Instruct, labelled by hand. boundaries: of starts and ends of thought and actions the share found; "
    "halves: turns whose action begins where it should; wrongly executed: turns executed without a clear call."
)


def parser_accuracy() -> pd.DataFrame:
    """Columns set, turns, boundaries, halves (shares), wrongly executed (turns)."""
    rows = pd.DataFrame([asdict(row) for row in accuracy_by_set()])
    rows = rows.rename(columns={"kind": "set", "wrongly_executed": "wrongly executed"})
    return rows[["set", "turns", "boundaries", "halves", "wrongly executed"]]
