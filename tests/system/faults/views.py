"""What a trial leaves beside its lines: episodes, policies, and the traces that MLflow makes of the episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mlflow.tracking import MlflowClient

from harness.config.sweep_file import Tracking
from harness.runs.episode_store import read_episodes, untimed
from harness.runs.layout import EPISODES, POLICIES
from harness.runs.run import TrialRun
from harness.runs.trace_sampling import TraceSampler
from harness.tracking import traces

SPANS = 6
"""Of a trace of the cheap trial: agent, and generate, parse, Search, generate, parse."""


def check_files(trial: Path, whole: Path, so_far: bool = False) -> None:
    """Episodes (but for what measures time) and policies are the undisturbed trial's; `so_far`: those there are."""
    for name in (EPISODES, POLICIES):
        ours, reference = _files(trial / name), _files(whole / name)
        assert ours <= reference if so_far else ours == reference, f"{trial.name}/{name}: other files"
        for file in ours:
            assert _content(trial / name / file) == _content(whole / name / file), f"{trial.name}/{name}/{file} differs"


def _files(folder: Path) -> set[str]:
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return {name for name in found if not name.startswith(".")}


def _content(file: Path) -> object:
    return untimed(read_episodes(file)) if file.suffix == ".parquet" else file.read_bytes()


def check_nothing_half_written(root: Path) -> None:
    left = [str(path.relative_to(root)) for path in root.rglob("*.tmp")]
    assert not left, f"left over: {left}"


def check_traces(client: MlflowClient, experiment: str, trials: Mapping[str, Path]) -> int:
    """MLflow has each episode that is to be shown once and whole, and no other; `trials` by run. How many those are."""
    expected: Counter[tuple[str, ...]] = Counter()
    for run, trial in trials.items():
        sampler = TraceSampler(Tracking().traces_per_step)
        for step, *_ in TrialRun(trial).metrics():
            for row in traces.sample_rows(TrialRun(trial).episode_files(step), step, sampler):
                expected[run, str(step), row["split"], row["question_id"]] += 1
    found: Counter[tuple[str, ...]] = Counter()
    token = None
    while token is None or token:
        page = client.search_traces(locations=[experiment], max_results=500, page_token=token)
        for trace in page:
            tags = trace.info.tags
            run = trace.info.trace_metadata["mlflow.sourceRun"]
            found[run, tags["step"], tags["split"], tags["question_id"]] += 1
            assert len(trace.data.spans) == SPANS, f"{trace.info.trace_id} has {len(trace.data.spans)} spans"
        token = page.token or ""
    assert found == expected, f"traces missing: {expected - found}, not expected: {found - expected}"
    return found.total()
