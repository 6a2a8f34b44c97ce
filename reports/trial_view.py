"""Views of one trial: learning curves as SVG, and a page of its episodes.

Unlike a sweep's report they draw no conclusions; they are cheap, being drawn while other trials run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from harness.runs.episode_store import EpisodeFile, open_episodes
from harness.runs.records import MetricsLine
from harness.runs.run import TrialRun
from harness.runs.trace_sampling import evenly_spaced, rows_at, trace_failures_in
from reports.drawn_names import looks
from reports.episode_gallery import Specimen, episode_card
from reports.figure_style import house_style

LAST_EVALUATION = 8
"""Episodes of the last evaluation that the page shows beside those with failures."""
FILES = 20
"""Number of newest episode files that are searched."""
PANELS: dict[str, dict[str, str]] = {
    "Reward": {"training": "train/reward_mean", "evaluation": "eval/reward_mean"},
    "Well-formed turns": {"training": "train/parse_ok_rate", "evaluation": "eval/parse_ok_rate"},
    "Policy": {"entropy (nats)": "update/entropy", "clipped share": "update/clip_fraction"},
}
ROUND = (1, 2, 5, 10)
"""Steps between ticks. They are few, being among the dearest things to draw."""


def write_trial_views(trial: TrialRun, out: Path) -> None:
    """Write learning_curves.svg and episodes.html of a trial's folder, each only if there is content for it."""
    if lines := trial.readable_metrics():
        canvas = draw_trial_curves(lines)
        with house_style():
            canvas.savefig(out / "learning_curves.svg", metadata={"Date": None})
    cards = [episode_card(s) for s in notable_episodes(trial)]
    if cards:
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        )  # fmt: skip
        page = environment.get_template("trial.html.j2").render(title=trial.info().name, cards=cards)
        (out / "episodes.html").write_text(page, encoding="utf-8")


def draw_trial_curves(lines: Sequence[MetricsLine]) -> Canvas:
    """Four panels by training step: Exact Match by suite, then `PANELS`."""
    suites = sorted({n.removeprefix("eval/em/") for line in lines for n in line.values if n.startswith("eval/em/")})
    with house_style():
        canvas = Canvas(figsize=(13, 3.6))
        canvas.subplots_adjust(left=0.04, right=0.99, bottom=0.27, top=0.92, wspace=0.18)
        axes = canvas.subplots(1, 1 + len(PANELS))
        for suite in suites:
            steps, values = _series(lines, f"eval/em/{suite}")
            axes[0].plot(steps, values, linewidth=0.9, alpha=0.75, label=suite)
        steps, values = _series(lines, "eval/em")
        axes[0].plot(steps, values, color="black", linewidth=2.2, marker="o", markersize=3, label="all suites")
        _finish(axes[0], "Exact Match on evaluation questions")
        axes[0].set_ylim(0, 1)
        for axis, (title, names) in zip(axes[1:], PANELS.items(), strict=True):
            for (label, name), look in zip(names.items(), looks(list(names)).values(), strict=True):
                steps, values = _series(lines, name)
                axis.plot(steps, values, color=look.colour, linestyle=look.dash, linewidth=1.6, label=label)
            _finish(axis, title)
    return canvas


def notable_episodes(trial: TrialRun) -> list[Specimen]:
    """The first episode of each kind of failure in every split, newest step first; then the last evaluation."""
    info = trial.info()
    found: set[tuple[str, str]] = set()
    failed: list[Specimen] = []
    last: list[Specimen] = []
    evaluated = False
    for step, split, kinds, file in _files(trial):
        why: dict[int, str] = {}  # an episode with two kinds of failure is shown once
        for i, failures in enumerate(kinds):
            for kind in failures:
                if (split, kind) not in found:
                    found.add((split, kind))
                    why.setdefault(i, kind.replace("_", " "))
        ends = evenly_spaced(range(len(kinds)), LAST_EVALUATION) if split == "eval" and not evaluated else []
        evaluated |= split == "eval"
        shown = sorted({*why, *ends})
        for i, row in zip(shown, rows_at(file, shown), strict=True):
            specimen = Specimen(why.get(i, "last evaluation"), info.arm, info.seed, step, split, row)
            (failed if i in why else last).append(specimen)
    return [*failed, *last]


def _files(trial: TrialRun) -> Iterator[tuple[int, str, list[list[str]], EpisodeFile]]:
    """(step, split, failure kinds of each episode, file) of the newest readable files, the newest step first."""
    for step, split, path in sorted(trial.episode_files(), key=lambda file: (-file.step, file.split))[:FILES]:
        with contextlib.suppress(OSError, pa.ArrowException):
            file = open_episodes(path)
            yield step, split, trace_failures_in(file), file


def _series(lines: Sequence[MetricsLine], name: str) -> tuple[list[int], list[float]]:
    points = [(line.step, line.values[name]) for line in lines if name in line.values]
    return [step for step, _ in points], [value for _, value in points]


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, y=1)  # where it is anyway: otherwise measured, a tenth of the drawing
    axis.set_xlabel("training step")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=ROUND, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=ROUND))
    axis.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.18), fontsize=6.5, ncols=3)  # below: lines go everywhere
