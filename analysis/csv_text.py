"""CSV for readers of a report: no cell is a formula to the program that opens it."""

from __future__ import annotations

import re

import pandas as pd

_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def csv_cell(value: object) -> object:
    """A text that a spreadsheet would run as a formula, behind an apostrophe; anything else as it is."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def csv_text(frame: pd.DataFrame) -> str:
    """The frame at full precision, with safe texts."""
    safe = frame.rename(columns=csv_cell)
    for at, kind in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(at, [csv_cell(v) for v in safe.iloc[:, at]])
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text
