"""The commands that are killed at random moments: data prepare, search index, warm start, policy recipe, evaluation,
replay, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from harness.config import load_trial
from harness.data import main as data_door
from harness.evaluate import main as evaluate_door
from harness.operators.retrieval.corpus_index import PASSAGES, file_retriever
from harness.policy.folder_checks import folder_fault
from harness.policy.load import shipped_chat
from harness.runs.episode_store import read_episodes, untimed
from harness.runs.layout import EPISODES
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tasks.benchmarks.manifest import is_verified, read_manifest
from harness.tasks.benchmarks.passages import PassageStore
from harness.tracking.__main__ import main as replay_door
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start import start_policy as starting
from harness.training.warm_start import tiny_recipe
from harness.training.warm_start.practice_episodes import RecipePhase
from harness.training.warm_start.world_agents import SKILLED
from reports.build import main as report_door
from reports.write_report import PAGE
from tests.support.full_sweep import full_sweep
from tests.support.replayable_sweep import make, seen
from tests.system.faults.killable import INDEX_TIMES, Inputs
from tests.system.faults.killed_commands import contents
from tests.system.faults.timed_kills import TimedCommand

# data prepare and search index


def _raw_files(place: Path) -> None:
    Inputs(place / "raw", questions=4000).make()


def _prepare(place: Path) -> int:
    where = ["--from", str(place / "raw"), "--out", str(place / "data")]
    return data_door(["prepare", *where, "--benchmarks", "nq", "--corpus"])


def _sound_prepared(place: Path, whole: Path) -> None:
    for name, entry in read_manifest(place / "data").files.items():
        assert is_verified(place / "data", name, entry), f"{name} is in the manifest and not whole"


def _prepared_view(place: Path) -> Any:
    return contents(place / "data")


def _index(place: Path) -> None:
    file_retriever(place / "raw" / "corpus.jsonl.gz", place / "bm25")


def _indexes(place: Path) -> dict[str, Any]:
    """Files of each index that looks whole, and its passages."""
    return {
        home.name: (contents(home, INDEX_TIMES), [tuple(p) for p in _passages(home)])
        for home in (place / "bm25").glob("[!.]*")
        if home.is_dir()
    }


def _passages(home: Path) -> list[tuple[str, str, str]]:
    store = PassageStore(home / PASSAGES)
    return [(p.id, p.title, p.text) for p in (store[n] for n in range(len(store)))]


def _sound_index(place: Path, whole: Path) -> None:
    assert _indexes(place).items() <= _indexes(whole).items()


# warm start


def _warm_start(place: Path) -> None:
    torch.set_num_threads(1)
    starting.cache_folder = lambda: place  # type: ignore[attr-defined]
    config = load_trial("tiny", ["policy.warm_start=imitation", "policy.warm_start_episodes=24"], seed=1)
    data, base = load_trial_data(config), starting.base_policy(config)
    starting.start_policy(
        config, base, factory.training_environment(config, factory.environment(config, base.chat, data)), data
    )


def _sound_warm_starts(place: Path, whole: Path) -> None:
    for weights in (place / "warm-starts").glob("[!.]*/*.safetensors"):
        assert weights.read_bytes() == (whole / weights.relative_to(place)).read_bytes()


def _made_files(place: Path) -> dict[str, str]:
    return contents(place, (".lock", "manifest.json"))  # a cache's manifest notes times of files


# recipe of a tiny start policy


@dataclass(frozen=True)
class _SmallRecipe(tiny_recipe.Recipe):
    hidden: int = 32
    layers: int = 2
    heads: int = 2
    copying: int = 10

    @property
    def phases(self) -> tuple[RecipePhase, ...]:
        shares = {"world_single": 1.0}
        return tuple(RecipePhase(name, 30, 2e-3, 0.02, 0.2, SKILLED, shares, 1_000) for name in ("read", "count"))


def _recipe(place: Path) -> None:
    torch.set_num_threads(1)
    tiny_recipe.make(_SmallRecipe(), shipped_chat(), place / "made", place / "kept.safetensors")


def _sound_recipe(place: Path, whole: Path) -> None:
    for weights in (*(place / "made").glob("[!.]*.safetensors"), place / "kept.safetensors"):
        if weights.exists() and weights.name != "model.safetensors":
            load_file(weights)
            assert weights.read_bytes() == (whole / weights.relative_to(place)).read_bytes()
    if (place / "made" / "config.json").exists():
        assert folder_fault(place / "made") is None
        assert contents(place / "made").items() >= contents(whole / "made").items()


# evaluation


def _evaluate(place: Path) -> int:
    torch.set_num_threads(1)
    words = ["tiny", "method=[agent,one_shot]", "data.eval_questions=2", "data.eval_suites=[world_single]"]
    return evaluate_door([*words, "--out", str(place)])


def _evaluations(place: Path) -> list[Path]:
    return [path for path in place.glob("evaluations/[!.]*") if path.is_dir()]


def _sound_evaluation(place: Path, whole: Path) -> None:
    for folder in _evaluations(place):
        assert _evaluation_files(folder) == _evaluation_files(_evaluations(whole)[0])


def _evaluation_files(folder: Path) -> dict[str, Any]:
    tables = {path.name: path.read_text() for path in folder.glob("*.csv") if path.name != "episodes.csv"}
    trials = {path.name: TrialRun(path) for path in sorted(folder.glob("trials/*"))}
    episodes = {
        n: [untimed(read_episodes(p)) for p in sorted((t.folder / EPISODES).glob("*"))] for n, t in trials.items()
    }
    return {"tables": tables, "journals": {n: t.comparable_journal() for n, t in trials.items()}, "episodes": episodes}


def _evaluation_view(place: Path) -> Any:
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    runs = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    shown = sorted((run.info.run_name, run.info.status, sorted(run.data.metrics)) for run in runs)
    (folder,) = _evaluations(place)
    assert not list(place.rglob("*building*"))
    return _evaluation_files(folder), shown


def _with_store(place: Path) -> None:
    """A migrated database: MLflow's own migration is not atomic."""
    place.mkdir(parents=True)
    MlflowClient(f"sqlite:///{place / 'mlflow.db'}").search_experiments()


# replay


def _replayable(place: Path) -> None:
    place.mkdir(parents=True)
    make(place, "learns", "gspo_fails")
    MlflowClient(f"sqlite:///{place / 'runs' / 'mlflow.db'}").search_experiments()


def _replay(place: Path) -> int:
    return replay_door(["replay", str(place / "runs" / "demo")])


def _replay_view(place: Path) -> dict[str, Any]:
    return seen(SweepFolder(place / "runs" / "demo"))


def _sound_replay(place: Path, whole: Path) -> None:
    """A run of a trial that MLflow calls finished has every point."""
    client = MlflowClient(f"sqlite:///{place / 'runs' / 'mlflow.db'}")
    finished = TrialRun(next((place / "runs" / "demo" / "trials").glob("gsspo*")))
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            if run.info.status == "FINISHED" and "trial_key" in run.data.tags:
                for name in {name for line in finished.metrics() for name in line.values}:
                    points = client.get_metric_history(run.info.run_id, name)
                    assert len(points) == sum(name in line.values for line in finished.metrics())


# report


def _sweep(place: Path) -> None:
    full_sweep(place, seeds=2, questions=3, steps=8)


def _report(place: Path) -> int:
    return report_door([str(place)])


def _report_view(place: Path) -> dict[str, str]:
    return contents(place / "report")


def _sound_report(place: Path, whole: Path) -> None:
    if (place / "report" / PAGE).exists():
        assert contents(place / "report").items() >= contents(whole / "report").items()


TIMED_COMMANDS = {
    "data prepare": TimedCommand(_prepare, _prepared_view, _sound_prepared, _raw_files),
    "search index": TimedCommand(_index, _indexes, _sound_index, _raw_files),
    "warm start": TimedCommand(_warm_start, _made_files, _sound_warm_starts),
    "policy recipe": TimedCommand(_recipe, _made_files, _sound_recipe),
    "evaluation": TimedCommand(_evaluate, _evaluation_view, _sound_evaluation, _with_store),
    "replay": TimedCommand(_replay, _replay_view, _sound_replay, _replayable),
    "report": TimedCommand(_report, _report_view, _sound_report, _sweep),
}
