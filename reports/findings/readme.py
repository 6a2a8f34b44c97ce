"""The README's result, between two marks: curves, levels and verdict of one study."""

from __future__ import annotations

from reports.findings.contrasts import primary
from reports.findings.levels import rises
from reports.findings.measured import what
from reports.packing.read import Study
from reports.tables import markdown

STUDY = "granularity"
BEGIN = "<!-- result: `make findings` writes what follows -->"
END = "<!-- end of result -->"


def result(study: Study, pictures: str) -> str:
    """Markdown: the study's figures (in the folder `pictures`), the registered metric by arm, and what follows."""
    frames, name = study.frames, what(study.plan.metric)
    table = rises(study).table
    registered = primary(study)
    lines = [
        _image(f"{pictures}/{study.name}_learning_curves.svg", f"{name} by training step and objective", 38),
        _image(f"{pictures}/{study.name}_forest.svg", f"Difference in {name} by suite, with intervals", 58),
        "",
        f"Made by `{study.provenance['command']}` (seeds: {frames.seed_text()}; held-out questions: "
        f"{frames.question_text()}); greedy answers, 95 % intervals over seeds:",
        "",
        markdown(table),
        "",
        " ".join(registered.sentences[:1]),
    ]
    return "\n".join(lines)


def placed(readme: str, text: str) -> str:
    """`readme` with `text` between its marks; raises ValueError when it has not exactly one pair of them."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"README.md needs one line {BEGIN!r} and after it one line {END!r}")
    head, _, rest = readme.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


def _image(path: str, alt: str, percent: int) -> str:
    return f'<img src="{path}" alt="{alt}" width="{percent}%">'
