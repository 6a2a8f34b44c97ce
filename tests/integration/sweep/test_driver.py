"""The driver from end to end: real Ray, real MLflow on SQLite, trials that cost nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from harness.config import code_version
from harness.runs.episode_store import read_episodes
from harness.runs.jsonl import seal
from harness.runs.layout import INFO, OUTPUT, RESULT
from harness.runs.lock import exclusive_lock
from harness.runs.run import TrialRun
from harness.sweep import run as driver
from harness.sweep.run import FAILED, FINISHED, INTERRUPTED, REFUSED
from tests.support.console import counted

REPOSITORY = Path(__file__).parents[3]


def states(runner) -> dict[str, str]:
    folders = sorted(runner.folder.trials.iterdir())
    return {TrialRun(f).info().name: TrialRun(f).status(TrialRun(f).info().key).value for f in folders}


def trial_runs(store: str) -> list:
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("demo")
    return client.search_runs([experiment.experiment_id], "tags.trial_key LIKE '%'", max_results=100)


def test_one_failing_arm_leaves_the_others_finished_and_sets_the_exit_status(failing_sweep):
    assert failing_sweep.status == FAILED
    assert states(failing_sweep.runner) == {
        f"{arm}_seed{seed}": "failed" if arm == "gspo" else "finished"
        for arm in ("gsspo", "grpo", "gspo")
        for seed in (0, 1)
    }


def test_a_failure_is_shown_with_its_error_line_and_at_the_end_again(failing_sweep):
    printed = failing_sweep.printed
    error = "ArithmeticError: the loss is not finite at step 1"
    lines = [line for line in printed.splitlines() if "gspo_seed1" in line and error in line]
    assert sum("attempt 2" in line for line in lines) == 1
    assert any("attempt" not in line for line in lines)
    assert counted(printed, 4, 6, 2, 2, 0)
    assert "Traceback" not in printed


def test_the_report_names_arms_suites_figures_and_the_next_command(failing_sweep):
    printed, home = failing_sweep.printed, failing_sweep.runner.home
    verdict = [line for line in printed.splitlines() if line][-15:]
    assert any("EM of gsspo and grpo" in line for line in verdict), "the verdict leads the last 15 lines"
    store = f"sqlite:///{home / 'runs' / 'mlflow.db'}"
    assert f"make ui STORE={store}" in printed
    assert "http://127.0.0.1:5000/#/experiments/" in printed
    assert f"-m harness.sweep {home / 'demo.yaml'}" in printed
    report = failing_sweep.runner.folder.root / "report"
    files = {str(path.relative_to(report)) for path in report.rglob("*")}
    whole = (report / "summary.txt").read_text()
    assert "world_chain" in whole
    assert "gsspo − grpo" in whole
    assert {"summary.csv", "figures/learning_curves.svg", "figures/learning_curves.csv"} <= files


def test_everything_a_sweep_writes_lies_in_its_output_folder(failing_sweep):
    assert {path.name for path in failing_sweep.runner.home.iterdir()} == {"demo.yaml", "runs"}
    assert failing_sweep.left_in_checkout == set()


def test_the_disk_holds_everything_about_a_trial(failing_sweep):
    folder = failing_sweep.runner.folder
    [trial] = folder.trials.glob("gsspo_seed1-*")
    names = {path.name for path in trial.iterdir()}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "events.jsonl",
        "episodes",
        "result.json",
        "attempts.jsonl",
        OUTPUT,
    } <= names
    config = yaml.safe_load((trial / "config.yaml").read_text())
    assert (config["seed"], config["objective"]["ratio_unit"], config["steps"]) == (1, "subsequence", 4)
    assert [step for step, *_ in TrialRun(trial).metrics()] == [0, 1, 2, 3, 4]
    assert TrialRun(trial).result()["final"]["eval/em"] == pytest.approx(0.2 + 4 * 0.03 + 0.001)
    assert sorted(p.name for p in (trial / "episodes").iterdir()) == [f"step-00000{s}-eval.parquet" for s in (0, 2, 4)]
    assert [row["held_out"] for row in read_episodes(trial / "episodes" / "step-000000-eval.parquet")] == [False, False]
    assert f"threads 1 in {Path.cwd()}" in (trial / OUTPUT).read_text()
    [failed] = folder.trials.glob("gspo_seed1-*")
    assert "Traceback" in (failed / OUTPUT).read_text()
    sweep = yaml.safe_load(folder.manifest.read_text())
    assert sweep["base"]["rollout"]["group_size"] == 8
    assert len(sweep["preregistration"]) == 64
    assert not (folder.root / ".ray").exists()


def test_mlflow_shows_each_trial_once_as_in_its_journal(failing_sweep):
    runner = failing_sweep.runner
    client = MlflowClient(runner.store)
    runs = trial_runs(runner.store)
    assert len(runs) == 6
    parents = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert len(parents) == 1
    parent = client.get_run(parents.pop())
    assert (parent.info.run_name, parent.info.status) == ("demo", "FAILED")
    assert parent.data.tags["hypothesis"] == "the embedded arms differ"
    assert parent.data.tags["c.rollout.group_size"] == "8"
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} == {"sweep.yaml", "report"}
    for run in runs:
        [trial] = runner.folder.trials.glob(f"{run.info.run_name}-*")
        arm, seed = run.info.run_name.split("_seed")
        assert run.data.params.items() >= {"preset": arm, "seed": seed, "learning_rate": "0.0003"}.items()
        assert run.data.tags["trial_key"] == TrialRun(trial).info().key
        assert run.data.tags["preregistration"] == parent.data.tags["preregistration"]
        assert {i.tags[0].value for i in run.inputs.dataset_inputs} == {"training", "evaluation"}
        history = [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, "eval/em")]
        assert sorted(history) == [(s, ts, v["eval/em"]) for s, v, ts in TrialRun(trial).metrics() if "eval/em" in v]
        if arm == "gspo":
            assert run.info.status == "FAILED"
            assert "ArithmeticError" in run.data.tags["error"]
        else:
            assert run.info.status == "FINISHED"
            assert run.data.metrics["final/em/world_chain"] == pytest.approx(history[-1][2])
            assert len(client.list_artifacts(run.info.run_id, "episodes")) == 3


def test_the_same_command_again_runs_only_what_is_not_finished(failing_sweep, tmp_path):
    runner = type(failing_sweep.runner)(tmp_path)
    shutil.copytree(failing_sweep.runner.home, tmp_path, dirs_exist_ok=True)
    before = {f.name: (f / "metrics.jsonl").read_bytes() for f in runner.folder.trials.glob("g[sr]*po_seed*")}
    assert runner("learns") == FINISHED
    assert counted(runner.printed, 2, 4)
    assert set(states(runner).values()) == {"finished"}
    after = {f.name: (f / "metrics.jsonl").read_bytes() for f in runner.folder.trials.glob("g[sr]*po_seed*")}
    assert {n for n in before if before[n] != after[n]} == {n for n in before if n.startswith("gspo")}
    runs = trial_runs(runner.store)
    assert sorted(run.info.run_name for run in runs) == sorted(states(runner))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert runner("learns") == FINISHED
    assert counted(runner.printed, 0, 6)
    assert len(trial_runs(runner.store)) == 6


def test_a_killed_worker_is_started_again_and_its_trial_is_as_if_nothing_had_been(failing_sweep, runner):
    assert runner("killed_once", "objective.preset=grpo") == FINISHED
    assert counted(runner.printed, 2, 2, 0, 1, 0)
    [killed] = runner.folder.trials.glob("grpo_seed0-*")
    assert len(TrialRun(killed).attempts()) == 2
    [whole] = failing_sweep.runner.folder.trials.glob("grpo_seed0-*")
    assert TrialRun(killed).comparable_journal() == TrialRun(whole).comparable_journal()


def test_a_tracker_that_is_down_costs_no_trial_and_a_replay_makes_up_for_it(ray_session, runner):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert runner("learns", "objective.preset=grpo", f"tracking.uri={address}") == FINISHED
    assert "MLflow could not be written" in runner.printed
    assert f"-m harness.tracking replay {runner.folder.root}" in runner.printed
    assert set(states(runner).values()) == {"finished"}


def test_only_and_limit_choose_trials(ray_session, runner):
    assert runner("learns", only="g[rs]*_seed1", limit=1) == FINISHED
    assert "1 trials to run" in runner.printed
    assert [name for name, state in states(runner).items() if state == "finished"] == ["gsspo_seed1"]
    assert counted(runner.printed, 1, 6, 0, 0, 5)
    assert runner("learns", only="nothing*") == REFUSED


def test_the_rest_of_a_small_study_is_run_by_the_small_command(ray_session, runner):
    assert runner("learns", small=True, limit=1) == FINISHED
    assert counted(runner.printed, 1, 3, 0, 0, 2)
    assert f"-m harness.sweep {runner.home / 'demo.yaml'} --small --out {runner.home}" in runner.printed


def test_a_changed_configuration_is_refused_with_the_difference(failing_sweep):
    runner = failing_sweep.runner
    before = runner.folder.manifest.read_bytes()
    assert runner("learns", "steps=9", "rollout.group_size=4") == REFUSED
    assert "base.steps: 4 → 9" in runner.printed
    assert "base.rollout.group_size: 8 → 4" in runner.printed
    assert runner("learns", "analysis.margin=0.1") == REFUSED
    assert "analysis.margin: 0.03 → 0.1" in runner.printed
    assert runner.folder.manifest.read_bytes() == before


def test_other_code_is_refused_and_what_was_finished_stays(failing_sweep, tmp_path, monkeypatch):
    runner = type(failing_sweep.runner)(tmp_path)
    shutil.copytree(failing_sweep.runner.home, tmp_path, dirs_exist_ok=True)
    [under_way] = runner.folder.trials.glob("grpo_seed1-*")
    (under_way / "result.json").unlink()
    before = {path: path.read_bytes() for path in runner.folder.root.rglob("*") if path.is_file()}
    old = TrialRun(under_way).info()
    monkeypatch.setattr(driver, "code_version", lambda: "0123456789abcdef" * 4)
    for dry in (False, True):
        assert runner("learns", only="g[rs]*", dry_run=dry) == REFUSED
        assert f"another code version: {old.code[:12]} → 0123456789ab\n" in runner.printed
        assert "3 finished, 1 unfinished" in runner.printed
        assert f"the code they started with (git {old.revision})\n" in runner.printed
        assert "name=…" in runner.printed
        assert re.search(r"run them again: .*demo.yaml --only 'g\[rs\]\*' --out .* --rerun\n", runner.printed)
    assert {path: path.read_bytes() for path in runner.folder.root.rglob("*") if path.is_file()} == before


def as_of_other_code(runner) -> set[str]:
    """Make the trials that are there those of an earlier version of the code; their folders' names."""
    names = set()
    for folder in list(runner.folder.trials.iterdir()):
        info = json.loads((folder / INFO).read_text())
        key = info["key"][::-1]
        (folder / INFO).write_text(json.dumps(info | {"key": key, "code": "f" * 64}))
        result = {k: v for k, v in json.loads((folder / RESULT).read_text()).items() if k != "crc"}
        (folder / RESULT).write_text(seal(result | {"key": key}) + "\n")
        names.add(folder.rename(folder.with_name(f"{info['name']}-{key[:8]}")).name)
    return names


def test_rerun_sets_the_trials_of_other_code_aside_and_runs_them_again(ray_session, runner):
    assert runner("learns", "objective.preset=grpo") == FINISHED
    earlier = as_of_other_code(runner)
    with exclusive_lock(runner.folder.trials / min(earlier)):
        assert runner("learns", "objective.preset=grpo", rerun=True) == REFUSED
        assert str(runner.folder.root) in runner.printed
    assert runner("learns", "objective.preset=grpo", rerun=True) == FINISHED
    assert "superseded" in runner.printed
    assert counted(runner.printed, 2)
    assert counted(runner.printed, 2, 0)
    assert {path.name for path in (runner.folder.root / "superseded").iterdir()} == earlier
    assert {TrialRun(path).info().code for path in runner.folder.trials.iterdir()} == {code_version()}
    assert len(trial_runs(runner.store)) == 2
    assert runner("learns", "objective.preset=grpo", rerun=True) == FINISHED
    assert counted(runner.printed, 0, 2)


def test_other_code_runs_where_no_trial_was_finished_or_unfinished(ray_session, runner):
    assert runner("gspo_fails", "objective.preset=gspo", "seeds=[0]") == FAILED
    as_of_other_code(runner)
    assert runner("learns", "objective.preset=gspo", "seeds=[0]") == FINISHED
    assert "superseded" in runner.printed
    assert counted(runner.printed, 1)


def test_two_drivers_do_not_share_a_folder(runner):
    with exclusive_lock(runner.folder.root):
        assert runner("learns") == REFUSED
    assert str(runner.folder.root) in runner.printed


def test_more_cpus_than_there_are_is_refused(runner):
    assert runner("learns", "resources.cpus_per_trial=999") == REFUSED
    assert "this machine has" in runner.printed
    assert not runner.folder.root.exists()


def test_a_dry_run_changes_nothing_and_shows_the_design_s_power(runner):
    assert runner("learns", dry_run=True) == FINISHED
    assert "6 trials, 6 to run" in runner.printed
    assert "3,072 training episodes" in runner.printed  # 6 trials, 4 steps, 16 questions, 8 episodes each
    assert "smallest attainable p" in runner.printed or "smallest p" in runner.printed
    assert not runner.folder.root.exists()


def test_a_dry_run_counts_the_trials_that_only_and_limit_leave(runner):
    assert runner("learns", dry_run=True, only="*_seed1", limit=2) == FINISHED
    assert "3 trials, 2 to run" in runner.printed
    assert "1,024 training episodes" in runner.printed  # of 2 trials
    rows = [line.split() for line in runner.printed.splitlines() if "_seed" in line and "timing" not in line]
    assert ["later" in row for row in rows] == [False, False, True]


DRIVER = """
import signal
import sys
from pathlib import Path
from rich.console import Console
from harness.sweep import run
from tests.support.sweep_runner import Runner
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background is told to ignore Ctrl-C
run.code_version = lambda: sys.argv[3]  # so that editing a file while the test runs does not disturb it
runner = Runner(Path(sys.argv[1]))
status = runner(sys.argv[2], "objective.preset=grpo", only="grpo*")
Path(sys.argv[1], "printed.txt").write_text(runner.printed)
sys.exit(status)
"""


def start_driver(home: Path, trial: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", DRIVER, str(home), trial, code_version()]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def wait_for(condition, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="term"),
        pytest.param(signal.SIGKILL, id="kill-9", marks=pytest.mark.nightly),  # CI has the battery's kills of drivers
    ],
)
def test_a_stopped_sweep_resumes_where_it_was(ray_session, runner, number):
    driver = start_driver(runner.home, "slow")
    trials = runner.folder.trials
    wait_for(lambda: list(trials.glob("*_seed0-*/result.json")) and list(trials.glob("*_seed1-*/metrics.jsonl")))
    time.sleep(3)  # MLflow has seen both
    os.killpg(driver.pid, number) if number == signal.SIGINT else driver.send_signal(number)
    assert driver.wait(timeout=120) == (-number if number == signal.SIGKILL else INTERRUPTED)
    assert states(runner) == {"grpo_seed0": "finished", "grpo_seed1": "running"}
    if number != signal.SIGKILL:
        assert {r.info.run_name: r.info.status for r in trial_runs(runner.store)}["grpo_seed1"] == "KILLED"
        assert not (runner.folder.root / ".ray").exists()
        printed = (runner.home / "printed.txt").read_text()
        again = f"demo.yaml objective.preset=grpo --only 'grpo*' --out {runner.home / 'runs'}"
        assert f"{again}\n" in printed
    assert runner("learns", "objective.preset=grpo") == FINISHED
    assert counted(runner.printed, 1, 1)
    runs = trial_runs(runner.store)
    assert sorted((r.info.run_name, r.info.status) for r in runs) == [
        ("grpo_seed0", "FINISHED"),
        ("grpo_seed1", "FINISHED"),
    ]
    [again] = trials.glob("*_seed1-*")
    assert [step for step, *_ in TrialRun(again).metrics()] == [0, 1, 2, 3, 4]
