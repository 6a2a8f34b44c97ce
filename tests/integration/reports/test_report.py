"""The whole report: complete, self-contained, the same bytes twice, and silent about what the data do not hold."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from pypdf import PdfReader

from analysis.episode_frames import read_rows
from analysis.load import load_frames
from reports import build
from reports.chapters.verdict_and_exact_match import verdict_chapter
from reports.episode_gallery import Specimen
from reports.episode_gallery import episode_card as card_html
from reports.figures import format_penalty
from reports.pdf import text_width, wrap
from reports.published_tables import ablation_table, published
from reports.report_data import gather_report_data
from reports.tables import Table, display_frame, html_table, latex_table, latex_text
from reports.write_report import render_report
from tests.support.full_sweep import full_sweep
from tests.support.synthetic_episodes import answer, call, episode, write
from tests.support.synthetic_sweep import made_frames, write_sweep

FIGURES = {
    "learning_curves",
    "learning_curves_eval_em_sampled",
    "forest",
    "aggregates",
    "performance_profile",
    "failure_transitions",
    "turns_to_failure",
    "turns_to_recovery",
    "fault_recovery",
    "training_traces",
    "parse_rate_by_hops",
    "parse_rate_by_suite",
}


class Reader(HTMLParser):
    """Collects tags that are opened, those left open, and every address."""

    VOID = frozenset({"meta", "br", "link", "path", "use", "rect", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = full_sweep(tmp_path_factory.mktemp("full") / "s", questions=8, steps=16)
    assert build.main([str(root)]) == 0
    return root


def test_every_figure_and_table_is_there(report):
    out = report / "report"
    assert {p.stem for p in (out / "figures").glob("*.svg")} >= FIGURES
    for figure in (out / "figures").glob("*.svg"):
        for suffix in (".pdf", ".png", ".csv", ".txt"):
            assert figure.with_suffix(suffix).stat().st_size > 0
    assert {p.stem for p in (out / "tables").glob("*.tex")} >= {
        "contrasts", "contrasts_sampled", "arms", "published_ablation", "published_main",
        "em_by_hops", "parse_rates", "parse_kinds", "parser_accuracy",
        "faults_arm", "faults_fault", "recovery_contrasts", "effect_contrasts",
        "operator_use",
        "operator_transitions", "checkpoint_claims", "second_looks", "speed", "stability", "perturbations", "spreads",
    }  # fmt: skip


def test_a_second_build_gives_the_same_bytes(report, tmp_path):
    assert build.main([str(report), "--out", str(tmp_path / "again")]) == 0
    first = {p.relative_to(report / "report"): p.read_bytes() for p in (report / "report").rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [str(k) for k in first if first[k] != second[k]] == []


def test_the_pdf_is_a4_with_words_to_search_and_figures_as_vectors(report):
    pages = PdfReader(report / "report" / "report.pdf").pages
    assert {tuple(round(float(v)) for v in p.mediabox[2:]) for p in pages} == {(595, 842)}
    text = " ".join(" ".join(p.extract_text() for p in pages).split())
    for part in (
        "EM of gsspo is higher than",
        "Self-correction",
        "The paper's ablation beside ours",
        "of 15 trials are included",
    ):
        assert part in text, part
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert all("/Image" not in str(p["/Resources"].get("/XObject", {})) for p in pages)


def test_lines_of_the_pdf_fit_their_width():
    text = "The interval excludes effects above three points and below minus five points. " * 5
    lines = list(wrap(text, 200, 9))
    assert " ".join(lines) == " ".join(text.split())
    assert max(text_width(line, 9) for line in lines) <= 200


def test_the_report_shows_the_calibration_and_what_it_would_take(report):
    tables = {p.stem: p.read_text() for p in (report / "report" / "tables").glob("*.tex")}
    assert "permutation of log-rank scores" in tables["calibration"]
    assert "too liberal" not in tables["calibration"]
    assert "seeds" in tables["outlook"]
    page = (report / "report" / "report.html").read_text()
    assert "no test that this report uses is too liberal" in page
    for name, text in tables.items():
        assert "Configuration" in text or name == "calibration", name


def test_the_page_is_self_contained(report):
    page = (report / "report" / "report.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert [a for a in reader.addresses if not a.startswith(("#", "data:"))] == []
    assert len(reader.ids) == len(set(reader.ids))
    assert {a[1:] for a in reader.addresses if a.startswith("#")} <= set(reader.ids)
    assert "<script" not in page
    assert "url(http" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_page_contains_no_nan(report):
    page = (report / "report" / "report.html").read_text()
    text = re.sub(r"base64,[^\"]*", "", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    for path in (report / "report" / "tables").glob("*.tex"):
        assert not re.search(r"\bnan\b", path.read_text(), re.IGNORECASE), path.name


def test_the_policys_text_cannot_become_markup(tmp_path):
    turns = [call(text="<script>x</script>", observation="it is <b>Paris</b>"), answer("<i>Rome</i>")]
    write(tmp_path, "t", 1, "eval", [episode(turns, suite="<u>", em=0.0)])
    row = read_rows(tmp_path / "trials" / "t" / "episodes" / "step-000001-eval.parquet", [0])[0]
    card = card_html(Specimen("looped", "<arm>", 0, 1, "eval", row))
    assert "&lt;b&gt;Paris&lt;/b&gt;" in card
    for markup in ("<b>Paris", "<script", "<i>", "<u>", "<arm>"):
        assert markup not in card


def test_the_gallery_shows_every_kind_with_faults_marked(report):
    page = (report / "report" / "report.html").read_text()
    for kind in (
        "recovered from an injected fault",
        "misled by an injected fault",
        "recovered from a malformed turn",
        "looped",
        "answered lazily",
        "parse failure: forged info",
    ):
        assert f"<b>{kind}</b>" in page, kind
    assert "injected: wrong passage" in page
    assert "the truth" in page


def test_the_page_marks_confirmatory_results(report):
    page = (report / "report" / "report.html").read_text()
    assert 'class="role confirmatory"' in page
    assert "EM of gsspo is higher than that of grpo averaged over suites" in page
    assert "Units beat tokens." in page


def test_captions_carry_what_a_reader_must_know(report):
    for path in (report / "report" / "figures").glob("*.txt"):
        text = path.read_text()
        for part in ("Seeds: ", "questions: ", "Interval: ", "Test: ", "Configuration "):
            assert part in text, path.name


def test_a_changed_plan_is_flagged_in_the_page(report, tmp_path):
    root = tmp_path / "s"
    shutil.copytree(report, root, ignore=shutil.ignore_patterns("report", "episodes"))
    sweep = (root / "sweep.yaml").read_text()
    (root / "sweep.yaml").write_text(sweep.replace("margin: 0.03", "margin: 0.3"))
    material = gather_report_data(load_frames(root))
    page = render_report(material, [verdict_chapter(material)])
    assert "HASH MISMATCH" in page
    assert 'class="role confirmatory"' not in page


def test_a_sweep_of_metrics_alone_still_reports(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames(seeds=(0,), steps=(0, 5)))
    assert build.main([str(root)]) == 0
    page = (root / "report" / "report.html").read_text()
    assert "No episodes of the last greedy evaluation were kept." in page
    assert "smallest attainable p" in page


def test_a_folder_that_is_no_sweep_is_refused(tmp_path, capsys):
    assert build.main([str(tmp_path)]) == 1
    assert "no report" in capsys.readouterr().err


def test_the_papers_numbers_stand_in_its_layout(report):
    frames = load_frames(report)
    table = ablation_table(frames).frame
    assert list(table.columns[2:]) == ["NQ", "TriviaQA", "HotpotQA", "MuSiQue"]
    row = table[(table["source"] == "published, with Search") & (table["objective"] == "GSsPO")].iloc[0]
    assert row[2:].tolist() == ["0.435", "0.733", "0.461", "0.215"]
    ours = table[table["source"].str.startswith("ours")]
    assert ours["objective"].tolist() == ["GRPO", "GSPO", "GSsPO"]
    assert "±" in ours["NQ"].iloc[0]
    assert ours["TriviaQA"].tolist() == ["–"] * 3
    assert sum(len(b["rows"]) for b in published()["ablation"]["blocks"]) == 6


def test_tables_show_absent_numbers_as_dashes_and_escape_text():
    frame = pd.DataFrame({"arm": ["a_b & c"], "difference": [-0.0001], "low": [""], "high": [""], "p": [0.00001]})
    text = display_frame(frame)
    assert text.iloc[0].tolist() == ["a_b & c", "+0.000", "–", "<.0001"]
    table = Table("x", "A < B", text, "50% of 3_4")
    latex = latex_table(table)
    assert r"a\_b \& c" in latex
    assert r"50\% of 3\_4" in latex
    assert r"\toprule" in latex
    assert latex.count("&") - latex.count(r"\&") == 2 * 3
    assert "A &lt; B" in html_table(table)
    assert latex_text("Δ ≤ 5 %") == r"$\Delta$ $\leq$ 5 \%"


def test_em_is_drawn_against_the_penalty_where_it_was_swept():
    frames = made_frames({"0": 0.1, "0.5": 0.2, "1.0": 0.15})
    arms = {
        label: type(a)(label, {"reward.format_penalty": float(label)}, a.config_hash)
        for label, a in frames.arms.items()
    }
    frames = type(frames)(**{**frames.__dict__, "arms": arms})
    spreads = pd.DataFrame({"arm": ["0"], "seed": [0], "mean": [0.3], "worst": [0.2], "spread": [0.2], "sd": [0.1]})
    figure = format_penalty.draw_format_penalty(frames, spreads)
    assert figure.data["penalty"].tolist() == [0.0, 0.5, 1.0]
    assert figure.data["best"].iloc[0] == pytest.approx(0.4)
    assert "broad bars" in str(figure.caption)
