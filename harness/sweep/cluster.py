"""A Ray cluster that is already there: joining it, what it has room for, and whether its nodes can do the work.

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
ANSWER_S = 180.0
"""How long a node may take to start a process and answer."""


class ResourceError(Exception):
    """This machine or cluster cannot run one such trial."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine offers to trials."""

    cpus: float
    gpus: float
    name: str = "this machine"


def cpus_here() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def here() -> Node:
    """This machine without its GPUs, which only Ray counts."""
    return Node(cpus_here(), float("inf"))


def concurrency(resources: Resources, nodes: Sequence[Node] | None = None) -> int:
    """How many trials run at a time on `nodes` (None: here). A process stays on one node. Raises ResourceError."""
    machines = list(nodes or [here()])
    what = "cpus_per_trial" if resources.workers == 1 else "cpus_per_worker"
    largest = int(max(n.cpus for n in machines))
    if resources.cpus > largest:
        place = "this machine has" if nodes is None else "the largest node has"
        raise ResourceError(
            f"resources.{what} is {resources.cpus}, and {place} {largest}: add resources.{what}={largest}"
        )
    room = sum(_room(resources, n) for n in machines)
    if room < resources.workers:
        raise ResourceError(
            f"a trial takes {resources.workers} processes of {resources.cpus} CPUs and {resources.gpus:g} GPUs each,"
            f" and there is room for {room}"
        )
    return room // resources.workers


def _room(resources: Resources, node: Node) -> int:
    by_cpu = int(node.cpus // resources.cpus)
    return by_cpu if resources.gpus == 0 or node.gpus == float("inf") else min(by_cpu, int(node.gpus / resources.gpus))


def worker_environment(resources: Resources) -> dict[str, str]:
    """Environment variables of trial processes: as many threads as CPUs, this code, and a GPU of its own for each.

    Ray Train would show every worker all GPUs of its node's workers, and vLLM takes the first that it sees. What shares
    them is Ray Train's controller, a process of its own that is given few variables by its caller: so this one has to
    come with Ray's processes.
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


def join(address: str, resources: Resources) -> list[Node]:
    """Connect this process to the cluster at `address` ("auto": the one this machine is part of); its nodes.

    Raises ResourceError when there is none.
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
    except Exception as error:  # Ray raises ConnectionError, RuntimeError or ValueError, by what is wrong
        raise ResourceError(
            f"no Ray cluster at {address!r} ({_short(error)}); `ray start --head --port=6379` starts one"
        ) from error
    return [
        Node(n["Resources"].get("CPU", 0), n["Resources"].get("GPU", 0), n["NodeManagerHostname"]) for n in _alive()
    ]


def leave() -> None:
    """Disconnect; the cluster stays."""
    import ray

    ray.shutdown()


def check_nodes(folder: Path) -> None:
    """Every node sees `folder` and runs this code. Raises ResourceError that names the node that does not."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".shared-{secrets.token_hex(8)}"
    token.write_text("seen")
    wanted = (True, code_version(), sys.version_info[:2])
    try:
        asked = {}
        for node in _alive():
            place = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            asked[node["NodeManagerHostname"], node["NodeID"]] = (
                ray.remote(_look).options(num_cpus=0, scheduling_strategy=place).remote(str(token))
            )
        for (name, _), answer in asked.items():
            try:
                found = ray.get(answer, timeout=ANSWER_S)
            except Exception as error:  # an import error on the node, a node that is lost, no answer in time
                raise ResourceError(
                    f"node {name} cannot run trials ({_short(error)}): it needs this repository at {REPOSITORY}"
                    " and the same Python environment"
                ) from error
            if found != wanted:
                raise ResourceError(_difference(name, folder, found, wanted))
    finally:
        token.unlink(missing_ok=True)


def paths_are_absolute(configs: Iterable[TrialConfig]) -> None:
    """Nodes work in folders of their own: a relative path would mean another place there. Raises ResourceError."""
    for config in configs:
        backend = config.environment.backend
        model = backend.model if isinstance(backend, LocalBackend) else None
        read = {"data.path": config.data.path, "policy.path": config.policy.path, "environment.backend.model": model}
        cache = backend.cache if isinstance(backend, EndpointBackend) else None
        written = {"environment.backend.cache": cache}
        for name, path in (read | written).items():
            # a name that is no path here is one of a hub; a cache need not exist yet
            if path is not None and not Path(path).is_absolute() and (name in written or Path(path).exists()):
                raise ResourceError(f"{name} is {path!r}: on a cluster write it in full, {Path(path).resolve()}")


def _alive() -> list[dict[str, Any]]:
    import ray

    return [n for n in ray.nodes() if n["Alive"]]


def _look(token: str) -> tuple[bool, str, tuple[int, int]]:
    """Runs on a node: whether it sees the file, which code and which Python it has."""
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
