"""`--dry-run`: a sweep's trials, their cost in time and disk, and the statistical power of its design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.config import SweepSpec, TrialSpec
from harness.config.arm_names import LABEL_CHARS, cut_text, value_text
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep.console import print_redacted
from harness.sweep.design_preview import preview_design, preview_tuning
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


def preview(
    console: Console,
    spec: SweepSpec,
    chosen: Sequence[tuple[TrialSpec, TrialRun]],
    progress: Sequence[TrialProgress],
    parallel: int,
    function: str,
    limit: int | None = None,
    pilot: Path | None = None,
) -> None:
    """Print the trials, their cost and the design's power. `progress` belongs to `chosen`; `function` runs a trial.

    `limit`: the most trials that would run now; `pilot`: a folder of earlier data, see `harness.sweep.pilot`.
    """
    pairs = list(zip(chosen, progress, strict=True))
    todo = [trial for (trial, _), now in pairs if now.status is not TrialStatus.FINISHED][:limit]
    now_due = {trial.key for trial in todo}
    table = Table(box=None, pad_edge=False)
    for column in ("trial", *spec.labels.values(), "seed", "status", "folder"):
        table.add_column(column, no_wrap=column != "folder")
    for (trial, run), now in pairs:
        values = [Text(cut_text(value_text(value), LABEL_CHARS)) for value in trial.axes.values()]
        status = "to run" if trial.key in now_due else "finished" if now.status is TrialStatus.FINISHED else "later"
        table.add_row(trial.name, *values, str(trial.seed), status, run.folder.name)
    console.print(table)
    trained = sum(
        t.config.trained_steps * t.config.rollout.prompts_per_step * t.config.rollout.group_size for t in todo
    )
    played = sum(evaluation_count(t.config) * evaluation_episodes(t.config) for t in todo)
    print_redacted(console, "")
    print_redacted(console, f"{len(chosen)} trials, {len(todo)} to run, {parallel} at a time")
    if spec.file.branch is not None:
        trunks = sum(t.config.keep_state for t in todo)
        print_redacted(
            console,
            f"arms branch at step {spec.file.branch.after} from a trunk a seed, trained once ({trunks} of them to run);"
            " their curves and areas begin there",
        )
    print_redacted(console, f"{trained:,} training episodes, {played:,} evaluation episodes")
    done = [(now, run) for (_, run), now in pairs if now.status is TrialStatus.FINISHED]
    known = [now.seconds_per_step for now, _ in done if now.seconds_per_step is not None]
    if known and todo:
        seconds = sum(t.config.trained_steps for t in todo) * sum(known) / len(known) / parallel
        size = sum(_size(run.folder) for _, run in done) / len(done) * len(todo)
        print_redacted(
            console,
            f"about {duration(seconds)} and {size / 1e6:.0f} MB, estimated from the {len(done)} finished trials;"
            " without MLflow, and without checkpoints while trials run",
        )
    elif todo:
        _timed(console, spec, todo, parallel, function)
    preview_tuning(console, spec)
    preview_design(console, spec, pilot)


def _timed(console: Console, spec: SweepSpec, todo: Sequence[TrialSpec], parallel: int, function: str) -> None:
    """Print time and disk, estimated from a step of the first trial, which is run for this."""
    first = todo[0]
    timed = timed_part(first.config)
    whole = timed == first.config.model_copy(update={"branch": None})
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


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
