"""Style and output of figures: colour-blind safe, byte-identical, honest axes.

Ink and grid are sentinel colours that an HTML page may replace by its own (light or dark). Arms differ in colour, dash
and marker at once, so that no reading depends on colour alone (palette: Paul Tol, "bright").
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from analysis.csv_text import csv_text
from reports.drawn_names import FONT, Look

INK, GRID, PAPER = "#1b1b1f", "#d9d9df", "#ffffff"
_RC = {
    "svg.hashsalt": "workflow",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "legend.frameon": False,
    "legend.loc": "upper right",  # never "best": it searches, slowly
    "path.simplify": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib settings of every figure; independent of the user's own matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def legend_columns(look: Mapping[str, Look], width: float) -> int:
    """Columns of a legend with long handles that fit a figure of `width` inches, at most four."""
    longest = max((len(style.name) for style in look.values()), default=1)
    return max(1, min(4, len(look), int(width / (0.75 + 0.065 * longest))))


def legend_height(look: Mapping[str, Look], width: float) -> float:
    """Inches of a legend's rows after the first."""
    return 0.17 * (math.ceil(len(look) / legend_columns(look, width)) - 1) if look else 0.0


def draw_legend(canvas: Canvas, look: Mapping[str, Look], lines: bool = True) -> None:
    """Legend of arms above the axes; `lines`: with their dashes. Its handles are its own: from the axes, matplotlib
    would leave out names that begin with an underscore, and arms without a value there."""
    handles = [
        Line2D([], [], color=s.colour, linestyle=s.dash if lines else "none", marker=s.marker, markersize=3)
        for s in look.values()
    ]
    columns = legend_columns(look, canvas.get_size_inches()[0])
    names = [style.name for style in look.values()]
    canvas.legend(handles, names, loc="outside upper center", ncols=columns, handlelength=3.5)


@dataclass(frozen=True, slots=True)
class Caption:
    """Caption of a figure: seeds, questions, interval, test, configuration. `interval`, `test`, `correction` "" where
    there is none."""

    text: str
    n_seeds: str
    n_questions: str
    interval: str
    config_hash: str
    test: str = ""
    correction: str = ""

    def __str__(self) -> str:
        parts = [self.text.rstrip(".") + ".", f"Seeds: {self.n_seeds}; questions: {self.n_questions}."]
        parts.append(f"Interval: {self.interval or 'none shown'}.")
        parts.append(f"Test: {self.test or 'none'}" + (f", correction: {self.correction}." if self.correction else "."))
        parts.append(f"Configuration {self.config_hash}.")
        return " ".join(parts)


@dataclass(frozen=True)
class Figure:
    """A drawn figure with its caption and the numbers behind it. Its layout is computed once, when it is made."""

    name: str
    title: str
    caption: Caption
    canvas: Canvas = field(repr=False)
    data: pd.DataFrame = field(repr=False)

    def __post_init__(self) -> None:
        with house_style():
            self.canvas.draw_without_rendering()
            self.canvas.set_layout_engine("none")

    @cached_property
    def svg(self) -> bytes:
        """SVG without date or creator. Element ids depend on the name alone, so that a page can inline several."""
        out = io.BytesIO()
        no_date = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with house_style(), mpl.rc_context({"svg.hashsalt": self.name}):
            self.canvas.savefig(out, format="svg", metadata=no_date)
        return out.getvalue()


def save_figure(figure: Figure, out_dir: str | Path) -> list[Path]:
    """Write NAME.svg, .pdf, .png, .csv (full precision) and .txt (caption); returns the paths."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / figure.name
    paths = [base.with_name(f"{figure.name}.{ext}") for ext in ("svg", "pdf", "png", "csv", "txt")]
    paths[0].write_bytes(figure.svg)
    with house_style():
        no_date = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.canvas.savefig(paths[1], format="pdf", metadata=no_date)
        figure.canvas.savefig(paths[2], format="png", dpi=160, metadata={"Software": None})
    paths[3].write_text(csv_text(figure.data), encoding="utf-8")
    paths[4].write_text(f"{figure.title}\n{figure.caption}\n", encoding="utf-8")
    return paths


def themed_svg(figure: Figure) -> str:
    """SVG to inline in a page: ink, grid and paper become CSS variables, width follows the page, title for readers."""
    text = figure.svg.decode()
    text = re.sub(r"<[^>]*>", _themed_tag, text[text.index("<svg") :])  # in tags alone: a name may be a colour's code
    # matplotlib's group names (axes_1, …) would repeat across figures and nothing refers to them; salted ids stay.
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
    # At most a third larger than drawn, so that small figures do not outgrow the text around them.
    width = round(figure.canvas.get_size_inches()[0] * 96 * 1.33)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', rf'<svg\1 style="max-width: {width}px"', text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(figure.title)}"', 1)


def _themed_tag(tag: re.Match[str]) -> str:
    text = tag.group()
    for colour, variable in ((INK, "--ink"), (GRID, "--grid"), (PAPER, "--paper")):
        text = re.sub(re.escape(colour), f"var({variable})", text, flags=re.IGNORECASE)
    return text
