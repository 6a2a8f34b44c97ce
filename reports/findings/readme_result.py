"""The README's result, between two marks: curves, levels and verdict of one study."""

from __future__ import annotations

from reports.findings.contrast_measures import registered_contrast
from reports.findings.descriptive_measures import metric_rises
from reports.findings.measure_result import metric_name
from reports.packing.read_study import Study
from reports.tables import markdown_table

README_STUDY = "granularity"
RESULT_BEGIN = "<!-- result: `make findings` writes what follows -->"
RESULT_END = "<!-- end of result -->"


def readme_result(study: Study, pictures: str) -> str:
    """Markdown: the study's figures (in the folder `pictures`), the registered metric by arm, and what follows."""
    frames, name = study.frames, metric_name(study.plan.metric)
    table = metric_rises(study).table
    registered = registered_contrast(study)
    lines = [
        _image(f"{pictures}/{study.name}_learning_curves.svg", f"{name} by training step and objective", 38),
        _image(f"{pictures}/{study.name}_forest.svg", f"Difference in {name} by suite, with intervals", 58),
        "",
        f"Made by `{study.provenance['command']}` (seeds: {frames.seed_text()}; held-out questions: "
        f"{frames.question_text()}); greedy answers, 95 % intervals over seeds:",
        "",
        markdown_table(table),
        "",
        " ".join(registered.sentences[:1]),
    ]
    return "\n".join(lines)


def insert_result(readme: str, text: str) -> str:
    """`readme` with `text` between its marks; raises ValueError when it has not exactly one pair of them."""
    if (
        readme.count(RESULT_BEGIN) != 1
        or readme.count(RESULT_END) != 1
        or readme.index(RESULT_BEGIN) > readme.index(RESULT_END)
    ):
        raise ValueError(f"README.md needs one line {RESULT_BEGIN!r} and after it one line {RESULT_END!r}")
    head, _, rest = readme.partition(RESULT_BEGIN)
    return f"{head}{RESULT_BEGIN}\n\n{text}\n\n{RESULT_END}{rest.partition(RESULT_END)[2]}"


def _image(path: str, alt: str, percent: int) -> str:
    return f'<img src="{path}" alt="{alt}" width="{percent}%">'
