"""The files of a sweep's report, written into one folder:

    report.html   one file with everything inline, for offline reading
    report.pdf    the same as vectors
    figures/      NAME.svg .pdf .png .csv .txt (caption)
    tables/       NAME.tex (booktabs) and NAME.csv (full precision)
    summary.txt   EM by arm, and contrasts

The same journals give the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.csv_text import csv_text
from analysis.exact_match import unequal_questions
from analysis.load import load_frames
from analysis.verdict import primary_sentence
from harness.runs.staging import staged_files
from reports import pdf, tables
from reports.chapters.all_chapters import CHAPTERS
from reports.chapters.chapter import Chapter
from reports.drawn_names import MOST_LOOKS
from reports.episode_gallery import choose_specimens, episode_card
from reports.figure_style import save_figure, themed_svg
from reports.figures import learning_curves
from reports.report_data import ReportData

PAGE = "report.html"


def write_learning_curves(run_dir: str | Path, out_dir: str | Path) -> list[Path]:
    """Learning curves of EM (greedy, and sampled where logged) of a sweep: SVG, PDF, PNG, CSV and caption each.

    None of more arms than a figure can tell apart, which the report states.
    """
    frames = load_frames(run_dir)
    paths = []
    for metric, label in learning_curves.CURVE_METRICS.items():
        if frames.has(metric) and len(frames.arms) <= MOST_LOOKS:
            paths += save_figure(learning_curves.draw_learning_curves(frames, metric, label), out_dir)
    return paths


def write_report(data: ReportData, out_dir: str | Path) -> list[Path]:
    """Write the whole report; returns the paths, report.html first.

    It is built beside its place: while report.html is there, all that it shows is, whole.
    """
    out = Path(out_dir)
    chapters = [make(data) for make in CHAPTERS]
    with staged_files(out, PAGE) as staging:
        paths = _write_files(staging, data, chapters)
    return [out / path.relative_to(staging) for path in paths]


def _write_files(out: Path, data: ReportData, chapters: Sequence[Chapter]) -> list[Path]:
    (out / PAGE).write_text(render_report(data, chapters), encoding="utf-8")
    lead = [primary_sentence(data.summary), *data.registration.sentences, *report_warnings(data)]
    pdf.write_pdf(out / "report.pdf", data.frames.name, lead, chapters, trial_counts(data))
    (out / "summary.txt").write_text(data.summary.text(), encoding="utf-8")
    (out / "summary.csv").write_text(data.summary.csv(), encoding="utf-8")
    paths = [out / name for name in (PAGE, "report.pdf", "summary.txt", "summary.csv")]
    (out / "tables").mkdir()
    for chapter in chapters:
        for figure in chapter.figures:
            paths += save_figure(figure, out / "figures")
        for table in chapter.tables:
            tex, csv = (out / "tables" / f"{table.name}.{ext}" for ext in ("tex", "csv"))
            tex.write_text(tables.latex_table(table), encoding="utf-8")
            full = table.frame if table.data is None else table.data
            csv.write_text(csv_text(full), encoding="utf-8")
            paths += [tex, csv]
    return paths


def trial_counts(data: ReportData) -> list[str]:
    """Number of included trials, and the excluded ones with their reasons."""
    frames = data.frames
    left_out = [f"Excluded: {t} ({status}): {reason}." for t, status, reason in data.summary.left_out]
    counted = f"{int(frames.trials['included'].sum())} of {len(frames.trials)} trials are included."
    return [counted if left_out else f"{counted} None was excluded.", *left_out]


def report_warnings(data: ReportData) -> list[str]:
    """Warnings before any number: excluded trials, question sets that differ."""
    counts = trial_counts(data)
    left_out = [f"{counts[0]} {len(counts) - 1} excluded, see Trials."] if len(counts) > 1 else []
    return left_out + unequal_questions(data.greedy)


def render_report(data: ReportData, chapters: Sequence[Chapter]) -> str:
    """report.html: chapters, episodes, trials."""
    frames, registration = data.frames, data.registration
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    shown = [
        {
            "name": s.name,
            "title": s.title,
            "role": s.role,
            "text": s.text,
            "tables": [tables.html_table(t) for t in s.tables],
            "figures": [
                {
                    "name": f.name,
                    "title": f.title,
                    "caption": str(f.caption),
                    "svg": themed_svg(f),
                    "csv": base64.b64encode(csv_text(f.data).encode()).decode(),
                }
                for f in s.figures
            ],
        }
        for s in chapters
    ]
    return environment.get_template("report.html.j2").render(
        title=frames.name,
        hypothesis=registration.hypothesis,
        headline=primary_sentence(data.summary),
        kept=registration.kept,
        registration=registration.sentences,
        chapters=shown,
        cards=[episode_card(s) for s in choose_specimens(data.everything)],
        trials=trial_counts(data),
        warnings=report_warnings(data),
        config_hash=frames.config_hash,
        plan_hash=(registration.recorded or "not recorded")[:12],
    )
