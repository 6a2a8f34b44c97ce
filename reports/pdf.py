"""The report as a vector PDF: a page of findings, one page a figure, tables in monospaced type."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import Bbox

from reports.section import Section
from reports.style import Figure, house_style
from reports.tables import Table

_WIDTH, _LINES, _COLUMNS = 8.27, 62, 96  # A4 width in inches; lines and columns of 8-point monospaced text


def write(path: Path, title: str, lead: Sequence[str], sections: Sequence[Section]) -> None:
    """Write the PDF without dates, so equal reports have equal bytes."""
    metadata = {"Title": title, "CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
    with house_style(), PdfPages(path, metadata=metadata) as pages:
        lines = [title, "=" * min(len(title), _COLUMNS), ""]
        for paragraph in lead:
            lines += [*textwrap.wrap(paragraph, _COLUMNS), ""]
        for section in sections:
            lines += ["", f"{section.title} ({section.role})", ""]
            for paragraph in section.text:
                lines += [*textwrap.wrap(paragraph, _COLUMNS), ""]
        _text_pages(pages, lines)
        for section in sections:
            for figure in section.figures:
                _figure_page(pages, figure)
            for table in section.tables:
                _text_pages(pages, [*table_lines(table)])


def _figure_page(pages: PdfPages, figure: Figure) -> None:
    """The figure with its caption below, on a page of its own size; the canvas is left as it was."""
    canvas = figure.canvas
    width, height = canvas.get_size_inches()
    caption = textwrap.wrap(f"{figure.title}. {figure.caption}", int(width * 17))
    below = 0.16 * len(caption) + 0.15
    text = canvas.text(0.02, 0, "\n".join(caption), fontsize=7, va="top", ha="left", parse_math=False)
    pages.savefig(canvas, bbox_inches=Bbox([[0, -below], [width, height]]))
    text.remove()


def table_lines(table: Table) -> Iterator[str]:
    """A table as aligned text, split into blocks of columns that fit the page."""
    yield from textwrap.wrap(f"{table.title}. {table.caption}", _COLUMNS)
    frame = table.frame.astype(str)
    widths = {c: max(len(str(c)), *(len(v) for v in frame[c])) for c in frame.columns}
    columns = list(frame.columns)
    keys = columns[:2]
    start = 0
    while start < len(columns):
        block = [] if start == 0 else list(keys)
        used = sum(widths[c] + 2 for c in block)
        taken = 0
        while start + taken < len(columns) and (taken == 0 or used + widths[columns[start + taken]] <= _COLUMNS):
            used += widths[columns[start + taken]] + 2
            block.append(columns[start + taken])
            taken += 1
        start += taken
        yield ""
        yield "  ".join(str(c).ljust(widths[c]) for c in block)
        yield "  ".join("-" * widths[c] for c in block)
        for row in frame[block].itertuples(index=False):
            yield "  ".join(v.ljust(widths[c]) for c, v in zip(block, row, strict=True))


def _text_pages(pages: PdfPages, lines: Sequence[str]) -> None:
    for start in range(0, len(lines), _LINES):
        canvas = Canvas(figsize=(_WIDTH, 11.69))
        part = "\n".join(lines[start : start + _LINES])
        canvas.text(0.06, 0.96, part, fontsize=8, family="DejaVu Sans Mono", va="top", ha="left", parse_math=False)
        pages.savefig(canvas)
