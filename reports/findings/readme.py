"""The README's result, between two marks: curves, levels and verdict of one study."""

from __future__ import annotations

import pandas as pd

from analysis.stats.permutation import mean_interval
from analysis.stats.results import Estimate
from analysis.summary import final_step, seed_values
from reports.findings.measures import primary, what
from reports.results.read import Study
from reports.tables import markdown

STUDY = "granularity"
BEGIN = "<!-- result: `make findings` writes what follows -->"
END = "<!-- end of result -->"


def result(study: Study, pictures: str) -> str:
    """Markdown: the study's figures (in the folder `pictures`), the registered metric by arm, and what follows."""
    frames, metric = study.frames, study.plan.metric
    last = final_step(frames, metric)
    rows = []
    for arm in frames.arms:
        start, end = (seed_values(frames, metric, arm, step) for step in (0, last))
        rows.append((arm, _level(mean_interval(start)), _level(mean_interval(end)), _level(mean_interval(end - start))))
    name = what(metric)
    columns = ["objective", f"{name} at the start", f"{name} at step {last}", "rise"]
    registered = primary(study)
    lines = [
        _image(f"{pictures}/{study.name}_learning_curves.svg", f"{name} by training step and objective", 38),
        _image(f"{pictures}/{study.name}_forest.svg", f"Difference in {name} by suite, with intervals", 58),
        "",
        f"Made by `{study.provenance['command']}` (seeds: {frames.seed_text()}; held-out questions: "
        f"{frames.question_text()}); greedy answers, 95 % intervals over seeds:",
        "",
        markdown(pd.DataFrame(rows, columns=columns)),
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


def _level(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    found = estimate.interval
    return f"{estimate.value:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found else "")
