"""What a sweep would do and could find: `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.study_design import StudyDesign, assess_design
from harness.config import SweepSpec, TrialSpec
from harness.runs.layout import State
from harness.sweep.console import say
from harness.sweep.status import Figures, duration
from harness.sweep.step_timing import ProbeError, estimate, evaluated, evaluation_count, probe, timed_part, trained

BY_SUITE = frozenset({"em", "em_sampled", "lenient", "f1"})
"""Last words of the metrics that an evaluation gives for every suite too; others stand for all of its episodes."""


def preview(
    console: Console,
    spec: SweepSpec,
    chosen: Sequence[tuple[TrialSpec, Path]],
    figures: Sequence[Figures],
    parallel: int,
    function: str,
    limit: int | None = None,
) -> None:
    """Print the trials, their cost and the design's power. `figures` belong to `chosen`; `function` runs a trial.

    `limit`: how many would be run now.
    """
    todo = [trial for (trial, _), now in zip(chosen, figures, strict=True) if now.state is not State.FINISHED][:limit]
    now_due = {trial.key for trial in todo}
    table = Table(box=None, pad_edge=False)
    for column in ("trial", *spec.labels.values(), "seed", "state", "folder"):
        table.add_column(column, no_wrap=column != "folder")
    for (trial, folder), now in zip(chosen, figures, strict=True):
        values = [str(value) for value in trial.axes.values()]
        state = "to run" if trial.key in now_due else "finished" if now.state is State.FINISHED else "later"
        table.add_row(trial.name, *values, str(trial.seed), state, folder.name)
    console.print(table)
    trained = sum(t.config.steps * t.config.rollout.prompts_per_step * t.config.rollout.group_size for t in todo)
    played = sum(evaluation_count(t.config) * evaluated(t.config) for t in todo)
    say(console, "")
    say(console, f"{len(chosen)} trials, {len(todo)} to run, {parallel} at a time")
    say(console, f"{trained:,} training episodes, {played:,} evaluation episodes")
    done = [(f, folder) for f, (_, folder) in zip(figures, chosen, strict=True) if f.state is State.FINISHED]
    paces = [f.seconds_per_step for f, _ in done if f.seconds_per_step is not None]
    if paces and todo:
        seconds = sum(t.config.steps for t in todo) * sum(paces) / len(paces) / parallel
        size = sum(_size(folder) for _, folder in done) / len(done) * len(todo)
        say(console, f"about {duration(seconds)} and {size / 1e6:.0f} MB, going by the {len(done)} that have finished;"
                     " MLflow, and checkpoints while trials run, come on top")  # fmt: skip
    elif todo:
        _timed(console, spec, todo, parallel, function)
    if spec.file.analysis is not None:
        _design(console, spec)
    else:
        say(console, "no analysis is declared: whatever comes out is exploratory")


def _timed(console: Console, spec: SweepSpec, todo: Sequence[TrialSpec], parallel: int, function: str) -> None:
    """Time and disk, going by a step of the first trial, which is run for that."""
    first = todo[0]
    timed = timed_part(first.config)
    whole = timed == first.config
    say(console, f"timing one step of {first.name} …" if whole else
                 f"timing a step of {trained(timed)} episodes and an evaluation of {evaluated(timed)} of {first.name};"
                 " a warm start that is not there yet is made first, which can take long, and kept …")  # fmt: skip
    try:
        timing = probe(timed, function, spec.file.resources)
    except ProbeError as error:
        say(console, f"time and disk: not known ({error}) before a trial has finished")
        return
    found = estimate(timing, timed, [t.config for t in todo], parallel, spec.file.tracking)
    total = found.bytes + found.copied + found.database
    say(console, f"about {duration(found.seconds)} and {_mb(total)}: {_mb(found.bytes)} of trials,"
                 f" {_mb(found.copied)} of copies in MLflow, {_mb(found.database)} of its database")  # fmt: skip
    if found.checkpoints:
        say(console, f"while trials run, up to {_mb(found.checkpoints)} of checkpoints beside these")
    part = "" if whole else f" (of {trained(first.config)} and {evaluated(first.config)} in the study)"
    say(console, f"timed here, alone: set-up {timing.setup_s:.1f} s, step 1 {timing.step_s:.1f} s,"
                 f" an evaluation {timing.eval_s:.1f} s{part}; later steps are shorter where answers are")  # fmt: skip
    if timing.made_s:
        say(console, f"what trials share, such as the warm start, took {duration(timing.made_s)} more and is kept;"
                     " arms that start otherwise make their own")  # fmt: skip


def _design(console: Console, spec: SweepSpec) -> None:
    plan = spec.file.analysis
    assert plan is not None
    first = spec.cells[0][1].data
    by_suite = plan.primary.metric.rsplit("/", 1)[-1] in BY_SUITE
    suites, questions = len(first.eval_suites), first.eval_questions
    design = StudyDesign(
        seeds=len(spec.file.seeds),
        tests=suites if by_suite else 1,
        questions=questions if by_suite else suites * questions,
        alpha=plan.alpha,
        correction=plan.correction,
        margin=plan.margin,
    )
    treatment, baseline = plan.primary.contrast
    say(console, "")
    where = "on every suite" if by_suite else "over all suites together"
    say(console, f"pre-registered: {plan.primary.metric}, {treatment} against {baseline} {where}")
    found = assess_design(design)
    for sentence in found.sentences:
        say(console, sentence)
    if not found.reachable:
        say(console, f"warning: this design cannot reach α = {plan.alpha:g}; run {found.seeds_to_reach} seeds an arm")


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
