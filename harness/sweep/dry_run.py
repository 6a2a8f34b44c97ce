"""`--dry-run`: a sweep's trials, their cost in time and disk, and the statistical power of its design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.study_design import StudyDesign, assess_design
from harness.config import SweepSpec, TrialSpec
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep.console import print_redacted
from harness.sweep.status import TrialProgress, duration
from harness.sweep.step_timing import (
    ProbeError,
    estimate_cost,
    evaluation_count,
    evaluation_episodes,
    probe,
    timed_part,
    training_episodes,
)

BY_SUITE = frozenset({"em", "em_sampled", "lenient", "f1"})
"""Last parts of the metric names that evaluations report by suite too; others are over all episodes."""


def preview(
    console: Console,
    spec: SweepSpec,
    chosen: Sequence[tuple[TrialSpec, TrialRun]],
    progress: Sequence[TrialProgress],
    parallel: int,
    function: str,
    limit: int | None = None,
) -> None:
    """Print the trials, their cost and the design's power. `progress` belongs to `chosen`; `function` runs a trial.

    `limit`: the most trials that would run now.
    """
    pairs = list(zip(chosen, progress, strict=True))
    todo = [trial for (trial, _), now in pairs if now.status is not TrialStatus.FINISHED][:limit]
    now_due = {trial.key for trial in todo}
    table = Table(box=None, pad_edge=False)
    for column in ("trial", *spec.labels.values(), "seed", "status", "folder"):
        table.add_column(column, no_wrap=column != "folder")
    for (trial, run), now in pairs:
        values = [str(value) for value in trial.axes.values()]
        status = "to run" if trial.key in now_due else "finished" if now.status is TrialStatus.FINISHED else "later"
        table.add_row(trial.name, *values, str(trial.seed), status, run.folder.name)
    console.print(table)
    trained = sum(t.config.steps * t.config.rollout.prompts_per_step * t.config.rollout.group_size for t in todo)
    played = sum(evaluation_count(t.config) * evaluation_episodes(t.config) for t in todo)
    print_redacted(console, "")
    print_redacted(console, f"{len(chosen)} trials, {len(todo)} to run, {parallel} at a time")
    print_redacted(console, f"{trained:,} training episodes, {played:,} evaluation episodes")
    done = [(now, run) for (_, run), now in pairs if now.status is TrialStatus.FINISHED]
    known = [now.seconds_per_step for now, _ in done if now.seconds_per_step is not None]
    if known and todo:
        seconds = sum(t.config.steps for t in todo) * sum(known) / len(known) / parallel
        size = sum(_size(run.folder) for _, run in done) / len(done) * len(todo)
        print_redacted(
            console,
            f"about {duration(seconds)} and {size / 1e6:.0f} MB, estimated from the {len(done)} finished trials;"
            " without MLflow, and without checkpoints while trials run",
        )
    elif todo:
        _timed(console, spec, todo, parallel, function)
    if spec.file.analysis is not None:
        _design(console, spec)
    else:
        print_redacted(console, "no analysis is declared: all results will be exploratory")


def _timed(console: Console, spec: SweepSpec, todo: Sequence[TrialSpec], parallel: int, function: str) -> None:
    """Print time and disk, estimated from a step of the first trial, which is run for this."""
    first = todo[0]
    timed = timed_part(first.config)
    whole = timed == first.config
    print_redacted(
        console,
        f"timing one step of {first.name} …"
        if whole
        else f"timing a step of {training_episodes(timed)} episodes"
        f" and an evaluation of {evaluation_episodes(timed)} of {first.name};"
        " a missing warm start is made first, which can take long, and is kept …",
    )
    try:
        timing = probe(timed, function, spec.file.resources)
    except ProbeError as error:
        print_redacted(console, f"time and disk: unknown until a trial has finished ({error})")
        return
    found = estimate_cost(timing, timed, [t.config for t in todo], parallel, spec.file.tracking)
    total = found.bytes + found.copied + found.database
    print_redacted(
        console,
        f"about {duration(found.seconds)} and {_mb(total)}: {_mb(found.bytes)} of trials,"
        f" {_mb(found.copied)} of copies in MLflow, {_mb(found.database)} of its database",
    )
    if found.checkpoints:
        print_redacted(console, f"while trials run, up to {_mb(found.checkpoints)} of checkpoints beside these")
    part = (
        "" if whole else f" (of {training_episodes(first.config)} and {evaluation_episodes(first.config)} in the study)"
    )
    print_redacted(
        console,
        f"timed on this machine, without other trials: set-up {timing.setup_s:.1f} s,"
        f" step 1 {timing.step_s:.1f} s, an evaluation {timing.eval_s:.1f} s{part};"
        " later steps are shorter where answers are",
    )
    if timing.made_s:
        print_redacted(
            console,
            f"what trials share, such as the warm start, took {duration(timing.made_s)} more and is kept;"
            " arms with another start make their own",
        )


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
        paired=plan.paired,
    )
    treatment, baseline = plan.primary.contrast
    print_redacted(console, "")
    where = "on every suite" if by_suite else "over all suites together"
    over = ", area under the curve" if plan.primary.over == "area" else ""
    pairs = ", paired by seed" if plan.paired else ""
    print_redacted(
        console, f"pre-registered: {plan.primary.metric}{over}, {treatment} against {baseline} {where}{pairs}"
    )
    found = assess_design(design)
    for sentence in found.sentences:
        print_redacted(console, sentence)
    if not found.reachable:
        print_redacted(
            console, f"warning: this design cannot reach α = {plan.alpha:g}; run {found.seeds_to_reach} seeds an arm"
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
