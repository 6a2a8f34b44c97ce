"""What a sweep would do and could find: `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.design import Design, assess
from harness.config import SweepSpec, TrialConfig, TrialSpec
from harness.driver.layout import State
from harness.driver.screen import say
from harness.driver.watch import Figures, duration


def preview(
    console: Console,
    spec: SweepSpec,
    chosen: Sequence[tuple[TrialSpec, Path]],
    figures: Sequence[Figures],
    parallel: int,
) -> None:
    """Print the trials, their cost and the design's power. `figures` belong to `chosen`."""
    table = Table(box=None, pad_edge=False)
    for column in ("trial", *spec.labels.values(), "seed", "state", "folder"):
        table.add_column(column, no_wrap=column != "folder")
    for (trial, folder), now in zip(chosen, figures, strict=True):
        values = [str(value) for value in trial.axes.values()]
        state = now.state.value if now.state in (State.FINISHED, State.FAILED) else "to run"
        table.add_row(trial.name, *values, str(trial.seed), state, folder.name)
    console.print(table)
    todo = [trial for (trial, _), now in zip(chosen, figures, strict=True) if now.state is not State.FINISHED]
    trained = sum(t.config.steps * t.config.rollout.prompts_per_step * t.config.rollout.group_size for t in todo)
    evaluated = sum(_evaluations(t.config) * _questions(t.config) for t in todo)
    say(console, "")
    say(console, f"{len(chosen)} trials, {len(todo)} to run, {parallel} at a time")
    say(console, f"{trained:,} training episodes, {evaluated:,} evaluation episodes")
    done = [(f, folder) for f, (_, folder) in zip(figures, chosen, strict=True) if f.state is State.FINISHED]
    paces = [f.seconds_per_step for f, _ in done if f.seconds_per_step is not None]
    if paces and todo:
        seconds = sum(t.config.steps for t in todo) * sum(paces) / len(paces) / parallel
        size = sum(_size(folder) for _, folder in done) / len(done) * len(todo)
        say(console, f"about {duration(seconds)} and {size / 1e6:.0f} MB, going by the {len(done)} that have finished")
    elif todo:
        say(console, "time and disk: not known before a trial has finished")
    if spec.file.analysis is not None:
        _design(console, spec)


def _design(console: Console, spec: SweepSpec) -> None:
    plan = spec.file.analysis
    assert plan is not None
    first = spec.cells[0][1].data
    design = Design(
        seeds=len(spec.file.seeds),
        tests=len(first.eval_suites),
        questions=first.eval_questions,
        alpha=plan.alpha,
        correction=plan.correction,
        margin=plan.margin,
    )
    treatment, baseline = plan.primary.contrast
    say(console, "")
    say(console, f"pre-registered: {plan.primary.metric}, {treatment} against {baseline} on every suite")
    for sentence in assess(design).sentences:
        say(console, sentence)


def _evaluations(config: TrialConfig) -> int:
    return len({*range(0, config.steps + 1, config.eval_every), config.steps})


def _questions(config: TrialConfig) -> int:
    return len(config.data.eval_suites) * config.data.eval_questions * (1 + config.data.eval_samples)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
