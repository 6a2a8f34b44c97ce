"""A sweep's report: `python -m reports.build RUN_DIR|EXPERIMENT [--out DIR]`.

into RUN_DIR/report or runs/EXPERIMENT/report:

    report.html   one file with everything inline, for offline reading
    report.pdf    the same as vectors
    figures/      NAME.svg .pdf .png .csv .txt (caption)
    tables/       NAME.tex (booktabs) and NAME.csv (full precision)
    summary.txt   EM by arm, and contrasts

The same journals give the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.exact_match import unequal_questions
from analysis.frames import Frames
from analysis.load import LoadError, load_frames
from analysis.verdict import primary_sentence
from harness.paths import command
from harness.redact import error_text
from reports import pdf, tables
from reports.chapters.all_chapters import CHAPTERS
from reports.chapters.chapter import Chapter
from reports.episode_gallery import choose_specimens, episode_card
from reports.figure_style import save_figure, themed_svg
from reports.figures import learning_curves
from reports.report_data import ReportData, gather_report_data


def write_learning_curves(run_dir: str | Path, out_dir: str | Path) -> list[Path]:
    """Learning curves of EM (greedy, and sampled where logged) of a sweep: SVG, PDF, PNG, CSV and caption each."""
    frames = load_frames(run_dir)
    paths = []
    for metric, label in learning_curves.CURVE_METRICS.items():
        if frames.has(metric):
            paths += save_figure(learning_curves.draw_learning_curves(frames, metric, label), out_dir)
    return paths


def write_report(frames: Frames, out_dir: str | Path) -> list[Path]:
    """Write the whole report; returns the paths, report.html first. Raises ValueError when nothing can be analysed."""
    out = Path(out_dir)
    data = gather_report_data(frames)
    chapters = [make(data) for make in CHAPTERS]
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(render_report(data, chapters), encoding="utf-8")
    lead = [primary_sentence(data.summary), *data.registration.sentences, *report_warnings(data)]
    pdf.write_pdf(out / "report.pdf", frames.name, lead, chapters, trial_counts(data))
    (out / "summary.txt").write_text(data.summary.text(), encoding="utf-8")
    (out / "summary.csv").write_text(data.summary.csv(), encoding="utf-8")
    paths = [out / name for name in ("report.html", "report.pdf", "summary.txt", "summary.csv")]
    (out / "tables").mkdir(exist_ok=True)
    for chapter in chapters:
        for figure in chapter.figures:
            paths += save_figure(figure, out / "figures")
        for table in chapter.tables:
            tex, csv = (out / "tables" / f"{table.name}.{ext}" for ext in ("tex", "csv"))
            tex.write_text(tables.latex_table(table), encoding="utf-8")
            full = table.frame if table.data is None else table.data
            full.to_csv(csv, index=False, lineterminator="\n")
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
                    "csv": base64.b64encode(f.data.to_csv(index=False, lineterminator="\n").encode()).decode(),
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


def _frames(source: str, uri: str | None, cache: Path) -> Frames:
    if (Path(source) / "trials").is_dir():
        return load_frames(source)
    if uri is None and Path(source).exists():
        raise LoadError(f"{source}: no trials/ inside; is this a sweep's output folder?")
    from analysis.load_mlflow import load_experiment

    return load_experiment(source, uri, cache)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("report", "reports.build"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a sweep's output folder, or the name of an MLflow experiment")
    parser.add_argument("--out", type=Path, help="default: SOURCE/report, or runs/EXPERIMENT/report")
    parser.add_argument("--uri", help="MLflow store or server of the experiment; default: sqlite:///runs/mlflow.db")
    options = parser.parse_args(arguments)
    folder = Path(options.source)
    out = options.out or (folder if folder.is_dir() else Path("runs") / options.source) / "report"
    try:
        paths = write_report(_frames(options.source, options.uri, out / "episodes"), out)
    except ValueError as error:
        print(f"no report: {error_text(error)}", file=sys.stderr)
        return 1
    print(f"{paths[0]} and {len(paths) - 1} more files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
