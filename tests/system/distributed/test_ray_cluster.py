"""A sweep on a Ray cluster of two nodes (raylets of this machine)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.config import code_version
from harness.config.sweep_file import Resources
from harness.runs.run import TrialRun
from harness.sweep.cluster import ClusterNode, ResourceError, concurrency
from harness.sweep.run import FINISHED, REFUSED
from tests.support.cheap_trials import GAIN
from tests.support.console import counted

ROOT = Path(__file__).parents[3]

DRIVER = """
import sys
from pathlib import Path
from harness.sweep import cluster, run
from tests.support.sweep_runner import Runner
home, code, blind, trial, *rest = sys.argv[1:]
run.code_version = cluster.code_version = lambda: code  # editing a file while the test runs does not disturb it
if blind == "blind":
    version = sys.version_info[:2]
    cluster._look = lambda token: (Path(token + "-elsewhere").is_file(), code, version)
else:
    version = sys.version_info[:2]
    cluster._look = lambda token: (Path(token).is_file(), code, version)
overrides = [o for o in rest if not o.startswith("address=")]
address = [o.removeprefix("address=") for o in rest if o.startswith("address=")]
runner = Runner(Path(home))
status = runner(trial, *overrides, address=address[0] if address else None)
print(runner.printed)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each; the second may be killed."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.second = made.add_node(**{k: v for k, v in node.items() if k != "include_dashboard"})
    made.wait_for_nodes()
    yield made
    made.shutdown()


def start(home: Path, trial: str, *rest: str, blind: bool = False) -> subprocess.Popen[str]:
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", DRIVER, str(home), code_version(), "blind" if blind else "sees", trial, *rest]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_folder_that_a_node_does_not_see_is_refused_by_name(cluster: Any, tmp_path: Path) -> None:
    driver = start(tmp_path, "learns", f"address={cluster.address}", blind=True)
    printed, _ = driver.communicate(timeout=250)
    assert driver.returncode == REFUSED, printed
    assert "does not see" in printed
    assert "--out" in printed
    assert "Traceback" not in printed
    assert not list((tmp_path / "runs" / "demo").rglob("*.json"))


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_sweep_survives_the_loss_of_a_node(cluster: Any, tmp_path: Path) -> None:
    driver = start(tmp_path, "on_a_node", "parameters.objective.preset=[gsspo, grpo]", f"address={cluster.address}")
    trials = tmp_path / "runs" / "demo" / "trials"
    second = cluster.second.node_id
    wait_for(lambda: list(trials.glob(f"*/node-{second}")), driver)
    [lost] = [path.parent for path in trials.glob(f"*/node-{second}")]
    cluster.remove_node(cluster.second, allow_graceful=False)
    printed, _ = driver.communicate(timeout=400)
    assert driver.returncode == FINISHED, printed
    assert "cluster of 2 nodes" in printed
    assert counted(printed, 4, 4, 0, 1, 0)
    assert len(TrialRun(lost).attempts()) >= 2
    assert len(list(lost.glob("node-*"))) == 2  # it went on elsewhere
    for folder in trials.iterdir():
        arm, _, seed = folder.name.partition("_seed")
        assert [step for step, *_ in TrialRun(folder).metrics()] == [0, 1, 2, 3, 4]
        expected = 0.2 + 4 * GAIN[arm] + 0.001 * int(seed[0])
        result = TrialRun(folder).result()
        assert result is not None
        assert result["final"]["eval/em"] == pytest.approx(expected)


def test_trials_at_a_time_are_counted_node_by_node() -> None:
    nodes = [ClusterNode(8, 4), ClusterNode(3, 1), ClusterNode(16, 0)]
    assert concurrency(Resources(cpus_per_trial=2), nodes) == 4 + 1 + 8
    assert concurrency(Resources(cpus_per_trial=2, gpus_per_trial=0.5), nodes) == 4 + 1
    assert concurrency(Resources(workers=2, cpus_per_worker=1, gpus_per_worker=1), nodes) == 2  # five GPUs
    with pytest.raises(ResourceError, match="largest node has 16"):
        concurrency(Resources(cpus_per_trial=17), nodes)
    with pytest.raises(ResourceError, match="room for 5"):
        concurrency(Resources(workers=8, gpus_per_worker=1), nodes)


def test_what_a_worker_and_a_trial_take_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="set gpus_per_worker"):
        Resources(workers=2, gpus_per_trial=2.0)
    with pytest.raises(ValueError, match="with one worker"):
        Resources(gpus_per_worker=1.0)
    assert [Resources(workers=2, cpus_per_worker=3).cpus, Resources(workers=2, cpus_per_trial=4).cpus] == [3, 4]
