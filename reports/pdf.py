"""Renderer of a report as vector PDF: text, tables and figures on A4 pages.

matplotlib sets the text and the tables and leaves gaps; each figure is its own vector PDF and is laid into its gap by
pypdf. No dates, so equal reports have equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib import font_manager
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from pypdf import PdfReader, PdfWriter, Transformation

from harness.config.arm_names import cut_text
from reports.chapters.chapter import Chapter
from reports.drawn_names import FONT, drawable
from reports.figure_style import INK, Figure, house_style
from reports.tables import Table, is_numeric

WIDTH, HEIGHT, PAGE_MARGIN = 595.0, 842.0, 54.0  # points
TEXT = WIDTH - 2 * PAGE_MARGIN
SOFT = "#5c5c66"
_NO_DATES = {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
_GAP = 9.0  # points between two columns
CELL_CHARS = 80


@dataclass
class _Page:
    canvas: Canvas
    figures: list[tuple[Figure, float, float, float]] = field(default_factory=list)  # figure, left, bottom, scale


class _Flow:
    """Vertical layout with page breaks. `y`: baseline in points from the bottom of the page."""

    def __init__(self) -> None:
        self.pages: list[_Page] = []
        self.new_page()

    def new_page(self) -> None:
        self.pages.append(_Page(Canvas(figsize=(WIDTH / 72, HEIGHT / 72))))
        self.y = HEIGHT - PAGE_MARGIN

    def room(self, height: float) -> None:
        if self.y - height < PAGE_MARGIN and self.y < HEIGHT - PAGE_MARGIN:
            self.new_page()

    def line(self, text: str, size: float, bold: bool = False, colour: str = INK, x: float = 0.0) -> None:
        """Text at the present height, `x` points from the margin."""
        left, bottom, weight = (PAGE_MARGIN + x) / WIDTH, (self.y - size) / HEIGHT, "bold" if bold else "normal"
        self.pages[-1].canvas.text(
            left, bottom, drawable(text), fontsize=size, color=colour, weight=weight, va="baseline", parse_math=False
        )

    def rule(self, width: float, weight: float = 0.6) -> None:
        ends = [PAGE_MARGIN / WIDTH, (PAGE_MARGIN + width) / WIDTH]
        line = Line2D(ends, [self.y / HEIGHT] * 2, color=INK, linewidth=weight)
        self.pages[-1].canvas.add_artist(line)

    def paragraph(
        self, text: str, size: float = 9.0, bold: bool = False, colour: str = INK, after: float = 5.0
    ) -> None:
        for line in wrap(text, TEXT, size, bold):
            self.room(1.35 * size)
            self.line(line, size, bold, colour)
            self.y -= 1.35 * size
        self.y -= after

    def figure(self, figure: Figure) -> None:
        width, height = (72.0 * inches for inches in figure.canvas.get_size_inches())
        caption = f"{figure.title}. {figure.caption}"
        below = 1.35 * 7 * len(list(wrap(caption, TEXT, 7))) + 10
        scale = min(1.0, TEXT / width, (HEIGHT - 2 * PAGE_MARGIN - below) / height)
        self.room(scale * height + below)
        self.y -= scale * height
        self.pages[-1].figures.append((figure, PAGE_MARGIN, self.y, scale))
        self.y -= 3
        self.paragraph(caption, 7, colour=SOFT, after=12)

    def table(self, table: Table) -> None:
        """A booktabs table; smaller type where it is wide, blocks of columns where that is not enough."""
        for size in (8.0, 7.0, 6.0):
            blocks = list(_blocks(table, size))
            if len(blocks) == 1:
                break
        self.room(80)
        self.paragraph(f"{table.title}. {table.caption}", 7, colour=SOFT, after=2)
        for columns, widths in blocks:
            self._block(table, columns, widths, size)
        self.y -= 6

    def _block(self, table: Table, columns: list[str], widths: list[float], size: float) -> None:
        frame, step = _page_text(table), 1.45 * size
        right = [is_numeric(list(frame[c])) for c in columns]
        total = sum(widths) + _GAP * (len(widths) - 1)

        def row(cells: Sequence[str], bold: bool = False) -> None:
            x = 0.0
            for text, width, flush in zip(cells, widths, right, strict=True):
                self.line(text, size, bold, x=x + (width - text_width(text, size, bold) if flush else 0.0))
                x += width + _GAP
            self.y -= step

        def head() -> None:
            self.rule(total, 1.0)
            self.y -= 2
            row(columns, bold=True)
            self.y -= 1
            self.rule(total)
            self.y -= 2

        self.room(4 * step)
        head()
        for i, cells in enumerate(frame[columns].itertuples(index=False)):
            if self.y - step < PAGE_MARGIN:
                self.new_page()
                head()
            if i in table.rules and i:
                self.rule(total, 0.3)
                self.y -= 1
            row(list(cells), i in table.strong)
        self.y -= 1
        self.rule(total, 1.0)
        self.y -= 8


def _page_text(table: Table) -> pd.DataFrame:
    """Cells as text, the longest cut: a page does not scroll."""
    return table.frame.astype(str).map(lambda cell: cut_text(cell, CELL_CHARS))


def _blocks(table: Table, size: float) -> Iterator[tuple[list[str], list[float]]]:
    """(columns, widths) of parts that fit the page; every part but the first repeats the first two columns."""
    frame = _page_text(table)
    names = [str(c) for c in frame.columns]
    widths = {c: max([text_width(c, size, True), *(text_width(v, size) for v in frame[c])]) for c in names}
    block: list[str] = []
    for name in names:
        if block and sum(widths[c] + _GAP for c in block) + widths[name] > TEXT:
            yield block, [widths[c] for c in block]
            block = names[:2] if name not in names[:2] else []
        block = [*block, name]
    yield block, [widths[c] for c in block]


@cache
def _font(bold: bool) -> font_manager.FontProperties:
    return font_manager.FontProperties(family=FONT, weight="bold" if bold else "normal")


@cache
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line in points."""
    font = font_manager.get_font(font_manager.findfont(_font(bold)))
    font.set_size(size, 72)
    font.set_text(drawable(text))
    return float(font.get_width_height()[0]) / 64


def wrap(text: str, width: float, size: float, bold: bool = False) -> Iterator[str]:
    """Lines of at most `width` points, broken between words; a longer word is broken where it has to be."""
    line = ""
    for word in _broken(text.split(), width, size, bold):
        longer = f"{line} {word}" if line else word
        if line and text_width(longer, size, bold) > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line


def _broken(words: Sequence[str], width: float, size: float, bold: bool) -> Iterator[str]:
    for word in words:
        while len(word) > 1 and text_width(word, size, bold) > width:
            at = next(i for i in range(len(word) - 1, 0, -1) if i == 1 or text_width(word[:i], size, bold) <= width)
            yield word[:at]
            word = word[at:]
        yield word


def write_pdf(
    path: Path, title: str, lead: Sequence[str], chapters: Sequence[Chapter], last: Sequence[str] = ()
) -> None:
    """Title, `lead`, then the chapters, each with its figures and tables, then `last` in small type."""
    with house_style():
        flow = _Flow()
        flow.paragraph(title, 16, bold=True, after=8)
        for paragraph in lead:
            flow.paragraph(paragraph, 10)
        for chapter in chapters:
            flow.y -= 10
            flow.room(90)
            flow.paragraph(f"{chapter.title} ({chapter.role})", 12, bold=True, after=6)
            for paragraph in chapter.text:
                flow.paragraph(paragraph)
            for figure in chapter.figures:
                flow.figure(figure)
            for table in chapter.tables:
                flow.table(table)
        for paragraph in last:
            flow.paragraph(paragraph, 7, colour=SOFT)
        _assemble(path, title, flow.pages)


def _assemble(path: Path, title: str, pages: Sequence[_Page]) -> None:
    paper = io.BytesIO()
    with PdfPages(paper, metadata={"Title": title, **_NO_DATES}) as out:
        for page in pages:
            out.savefig(page.canvas)
    writer = PdfWriter(clone_from=PdfReader(paper))
    for sheet, page in zip(writer.pages, pages, strict=True):
        for figure, left, bottom, scale in page.figures:
            drawn = io.BytesIO()
            figure.canvas.savefig(drawn, format="pdf", metadata=_NO_DATES)
            place = Transformation().scale(scale).translate(left, bottom)
            sheet.merge_transformed_page(PdfReader(drawn).pages[0], place)
        sheet.compress_content_streams()
    writer.compress_identical_objects()
    writer.metadata = {"/Title": title}
    with path.open("wb") as file:
        writer.write(file)
