"""A table as plain text: columns aligned on a terminal, wide characters counted as two."""

from __future__ import annotations

import pandas as pd

from harness.config.arm_names import columns_of

LEFT = frozenset({"suite", "arm", "contrast", "role", "required", "observed", "holds"})
"""Columns of words; numbers are flush right."""


def aligned_text(frame: pd.DataFrame) -> str:
    """A line of headings and one for each row."""
    cells = [[str(c) for c in frame.columns], *frame.astype(str).to_numpy().tolist()]
    widths = [max(columns_of(row[i]) for row in cells) for i in range(len(frame.columns))]
    left = [name in LEFT for name in frame.columns]
    return "\n".join(
        "  ".join(_padded(c, w, words) for c, w, words in zip(row, widths, left, strict=True)).rstrip() for row in cells
    )


def _padded(text: str, width: int, left: bool) -> str:
    space = " " * (width - columns_of(text))
    return text + space if left else space + text
