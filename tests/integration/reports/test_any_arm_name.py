"""Any names of arms that a sweep file accepts reach every output: drawn, escaped, unique, none lost."""

from __future__ import annotations

import csv
import html
import io
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from analysis.csv_text import csv_cell, csv_text
from analysis.registered_plan import read_analysis_plan
from analysis.screen_summary import screen_summary
from analysis.stats.types import DegenerateInput
from analysis.summary import summarise
from harness.config.arm_names import arm_labels, columns_of
from harness.config.name_checks import name_fault
from harness.sweep.console import print_redacted
from reports import build
from reports.drawn_names import MOST_LOOKS, drawable, drawn_names, looks
from reports.figure_style import Figure, save_figure, themed_svg
from reports.figures.arm_dots import draw_arm_dots
from reports.figures.forest import draw_forest
from reports.figures.learning_curves import draw_learning_curves
from reports.tables import Table, html_table, latex_table, markdown_table
from tests.support.examples import examples
from tests.support.full_sweep import full_sweep
from tests.support.synthetic_sweep import ANALYSIS, made_frames

SPECIALS = [
    "a$x^$b", "c", "低", "高", "x" * 200, "y" * 200, "_hidden", "[a](b)", "<b>bold</b>", "&amp;", "=1+1", "@cmd",
    "-3 x", r"\textbf{x}", "100%", "#1b1b1f", "a|b", "`code`", "*", "a~b", "{x}", "é", "😀", "[red]x[/red]", "[/]",
    "שלום", "a/b", "a:b", "'", '"', "~", "…", "²", "ß", "$", "$$", "^", "#", "1", "0.5", "yes", "none", "all",
    "all suites", "nan", "NULL",
]  # fmt: skip
names = st.one_of(
    st.sampled_from(SPECIALS), st.text(min_size=1, max_size=40).filter(lambda text: name_fault(text) is None)
)


def frames_of(arms: list[str]):
    effects = {arm: 0.1 + 0.01 * i for i, arm in enumerate(arms)}
    analysis = {**ANALYSIS, "primary": {**ANALYSIS["primary"], "contrast": arms[:2]}}
    return made_frames(effects, seeds=(0, 1), suites=("one_hop",), steps=(0, 5), analysis=analysis)


class Cells(HTMLParser):
    """Texts of the cells and text elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def figures_of(frames) -> list[Figure]:
    plan = read_analysis_plan(frames.config["analysis"])
    dots = pd.DataFrame({"arm": list(frames.arms), "hops": 1, "rate": 0.5, "low": 0.4, "high": 0.6})
    words = {"name": "dots", "title": "t", "text": "t", "label": "l", "interval": "i"}
    return [
        draw_learning_curves(frames),
        draw_forest(frames, summarise(frames, plan).contrasts, plan),
        draw_arm_dots(frames, dots, "hops", "rate", **words),
    ]


def test_special_names_survive_every_table_and_figure(tmp_path):
    check_outputs(SPECIALS, saved_in=tmp_path)


@settings(max_examples=examples(5), deadline=None)
@given(st.lists(names, min_size=2, max_size=5, unique=True))
def test_any_names_survive_every_table_and_figure(arms):
    check_outputs(arms)


def check_outputs(arms: list[str], saved_in: Path | None = None) -> None:
    frames = frames_of(arms)
    labels = list(frames.arms)
    assert len(set(labels)) == len(arms)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a missing glyph, or of a legend without room
        for figure in figures_of(frames):
            if saved_in is not None:
                save_figure(figure, saved_in)
            shown = Cells(themed_svg(figure)).texts
            if figure.name != "forest":
                assert {look.name for look in looks(labels).values()} <= set(shown)
    table = Table("t", "Arms", pd.DataFrame({"arm": labels, "em": ["0.5"] * len(labels)}))
    assert [t for t in Cells(html_table(table)).texts if t][3::2] == labels
    tex = latex_table(table)
    assert tex.count(r" \\") == len(labels) + 1
    assert not re.search(r"[^\x00-\x7f\u00c0-\u017e]", tex)
    assert not re.search(r"\\\\\s*\n\s*[\[*]", tex)
    rows = markdown_table(table.frame).splitlines()
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3 for row in rows)
    read = [row[0] for row in csv.reader(io.StringIO(csv_text(table.frame)))][1:]
    assert read == [csv_cell(label) for label in labels]
    assert all(
        cell[0] not in "=@" and cell.lstrip("'") == label.lstrip("'") for cell, label in zip(read, labels, strict=True)
    )
    summary = summarise(frames, read_analysis_plan(frames.config["analysis"]))
    text = summary.text()
    assert all(label in text for label in labels)
    assert all(columns_of(row.contrast.label) < 60 for row in summary.contrasts)


def test_the_terminal_shows_names_as_they_are():
    arms = ["[red]x[/red]", "[/]", "[a](b)"]
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    for line in screen_summary(summarise(frames_of(arms), read_analysis_plan(ANALYSIS)), 200):
        print_redacted(console, line)
    shown = console.file.getvalue()
    assert all(arm in shown for arm in arms)


def test_a_whole_report_of_special_names_is_written(tmp_path):
    arms = ["a$x^$b <&>", "_低", "y" * 200]
    root = full_sweep(tmp_path / "s", seeds=2, questions=3, steps=8, arms=arms)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*[Gg]lyph.*|.*collapsed.*")
        assert build.main([str(root)]) == 0
    page = (root / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count(html.escape("a$x^$b <&>")) > 10
    assert drawable("_低") == r"_\u4f4e"
    assert rf">{drawable('_低')}<" in page
    assert f"objective.preset={'y' * 200}" in page  # the label is short: a table has the whole name


def test_looks_are_different_for_as_many_arms_as_there_are_looks():
    found = looks([f"arm {i}" for i in range(MOST_LOOKS)])
    assert len({(look.colour, str(look.dash), look.marker) for look in found.values()}) == MOST_LOOKS == 280
    with pytest.raises(DegenerateInput, match="281 arms cannot be distinguished in one figure"):
        looks([f"arm {i}" for i in range(MOST_LOOKS + 1)])


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(names, min_size=1, max_size=20, unique=True))
def test_drawn_names_are_unique_and_of_the_fonts_characters(labels):
    short = arm_labels([{"arm": label} for label in labels])
    found = drawn_names(short)
    assert len(set(found)) == len(labels)
    assert all(drawable(name) == name for name in found)
