"""Joining an existing Ray cluster: its capacity for trials, and checks that its nodes can run them.

All results go through files, so every node must see the sweep's folder under the driver's path, and run the driver's
code. Both are checked before anything starts.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig, code_version
from harness.config.sweep_file import Resources
from harness.operators.operator_settings import EndpointBackend, LocalBackend

REPOSITORY = str(Path(__file__).resolve().parents[2])
NODE_TIMEOUT_S = 180.0
"""Timeout for a node to start a process and answer."""


class ResourceError(Exception):
    """This machine or cluster cannot run a single trial."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """CPUs and GPUs of one machine."""

    cpus: float
    gpus: float
    name: str = "this machine"


def cpus_here() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def this_machine() -> ClusterNode:
    """This machine without its GPUs, which only Ray counts."""
    return ClusterNode(cpus_here(), float("inf"))


def concurrency(resources: Resources, nodes: Sequence[ClusterNode] | None = None) -> int:
    """How many trials run at a time on `nodes` (None: this machine). Each process fits on one node. Raises
    ResourceError when none fits."""
    machines = list(nodes or [this_machine()])
    setting = "cpus_per_trial" if resources.workers == 1 else "cpus_per_worker"
    largest = int(max(n.cpus for n in machines))
    if resources.cpus > largest:
        place = "this machine has" if nodes is None else "the largest node has"
        raise ResourceError(
            f"resources.{setting} is {resources.cpus}, and {place} {largest}: add resources.{setting}={largest}"
        )
    room = sum(_room(resources, n) for n in machines)
    if room < resources.workers:
        raise ResourceError(
            f"a trial needs {resources.workers} processes of {resources.cpus} CPUs and {resources.gpus:g} GPUs each,"
            f" and there is room for {room}"
        )
    return room // resources.workers


def _room(resources: Resources, node: ClusterNode) -> int:
    by_cpu = int(node.cpus // resources.cpus)
    return by_cpu if resources.gpus == 0 or node.gpus == float("inf") else min(by_cpu, int(node.gpus / resources.gpus))


def worker_environment(resources: Resources) -> dict[str, str]:
    """Environment variables of trial processes: as many threads as CPUs, this code, and one GPU of its own for each.

    Ray Train would show every worker all GPUs of its node's workers, and vLLM takes the first that it sees. Ray Train's
    controller shares them out; it is a process of its own that inherits few variables from its caller, so this one is
    set for all of Ray's processes.
    """
    threads = str(resources.cpus)
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "TRAIN_ENABLE_SHARE_CUDA_VISIBLE_DEVICES": "0",
        "PYTHONPATH": os.pathsep.join([REPOSITORY, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


def join(address: str, resources: Resources) -> list[ClusterNode]:
    """Connect this process to the cluster at `address` ("auto": the one this machine is part of); its nodes.

    Raises ResourceError when there is no cluster.
    """
    import logging

    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": worker_environment(resources)},
        )
    except Exception as error:  # ConnectionError, RuntimeError or ValueError
        raise ResourceError(
            f"no Ray cluster at {address!r} ({_short(error)}); `ray start --head --port=6379` starts one"
        ) from error
    return [
        ClusterNode(n["Resources"].get("CPU", 0), n["Resources"].get("GPU", 0), n["NodeManagerHostname"])
        for n in _alive()
    ]


def leave() -> None:
    """Disconnect; the cluster keeps running."""
    import ray

    ray.shutdown()


def check_nodes(folder: Path) -> None:
    """Raise ResourceError, with the node's name, unless every node sees `folder` and runs this code."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".shared-{secrets.token_hex(8)}"
    token.write_text("seen")
    wanted = (True, code_version(), sys.version_info[:2])
    try:
        pending = {}
        for node in _alive():
            place = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            pending[node["NodeManagerHostname"], node["NodeID"]] = (
                ray.remote(_look).options(num_cpus=0, scheduling_strategy=place).remote(str(token))
            )
        for (name, _), answer in pending.items():
            try:
                found = ray.get(answer, timeout=NODE_TIMEOUT_S)
            except Exception as error:  # an import error on the node, a lost node, a timeout
                raise ResourceError(
                    f"node {name} cannot run trials ({_short(error)}): it needs this repository at {REPOSITORY}"
                    " and the same Python environment"
                ) from error
            if found != wanted:
                raise ResourceError(_difference(name, folder, found, wanted))
    finally:
        token.unlink(missing_ok=True)


def paths_are_absolute(configs: Iterable[TrialConfig]) -> None:
    """Raise ResourceError for relative paths, which nodes would resolve in their own working directories."""
    for config in configs:
        backend = config.environment.backend
        model = backend.model if isinstance(backend, LocalBackend) else None
        read = {"data.path": config.data.path, "data.task": config.data.task, "policy.path": config.policy.path}
        read |= {"environment.backend.model": model}
        cache = backend.cache if isinstance(backend, EndpointBackend) else None
        written = {"environment.backend.cache": cache}
        for name, path in (read | written).items():
            # a name that is no local path is a hub's; a cache need not exist yet
            if path is not None and not Path(path).is_absolute() and (name in written or Path(path).exists()):
                raise ResourceError(f"{name} is {path!r}: on a cluster use the absolute path, {Path(path).resolve()}")


def _alive() -> list[dict[str, Any]]:
    import ray

    return [n for n in ray.nodes() if n["Alive"]]


def _look(token: str) -> tuple[bool, str, tuple[int, int]]:
    """Runs on a node: whether it sees the file, its code version, its Python version."""
    return Path(token).is_file(), code_version(), sys.version_info[:2]


def _difference(name: str, folder: Path, found: tuple[Any, ...], wanted: tuple[Any, ...]) -> str:
    if not found[0]:
        return (
            f"node {name} does not see {folder}: journals must lie where every node and the driver can write them;"
            " give --out a folder that all nodes share under the same path"
        )
    if found[1] != wanted[1]:
        return f"node {name} has another version of the code in {REPOSITORY}: bring both to the same"
    return f"node {name} runs Python {found[2][0]}.{found[2][1]}, the driver {wanted[2][0]}.{wanted[2][1]}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
