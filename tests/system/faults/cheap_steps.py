"""A trial of cheap, random, stateful steps that writes all that a real one does: what faults are tried on. Ray runs it
by its path.

`STRIKE` in the sweep's home, if it is there, holds the name of a trial's folder (of `STRUCK`) and n: the worker that
comes to the nth open, rename or removal there kills itself before it, once.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.config import TrialConfig
from harness.runs.journal import Journal
from harness.runs.layout import CHECKPOINTS, EPISODES, POLICIES
from tests.system.faults.cheap_episodes import played

STEP_S = float(os.environ.get("FAULTS_STEP_S", "0.03"))
FILE_BYTES = int(os.environ.get("FAULTS_FILE_BYTES", "0"))
"""No file may grow beyond it, if there is one: the full disk of a machine that lets nobody mount a small one."""
DONE, STRIKE = "done.txt", "strike"
STRUCK = (CHECKPOINTS, EPISODES, POLICIES)
_touched = [0]
_strike: list[Path] = []


def random_walk(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """Every number hangs on all random draws before it, so a step lost, doubled or drawn anew shows in all later ones.

    Beside the journal it keeps (`DONE`), by process, each recorded step and how long the journal took for it.
    """
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    if FILE_BYTES:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    place, first = torch.zeros(64), 0
    saved = journal.resume()
    if saved is not None:
        place, first = saved["place"], saved["step"] + 1
        torch.set_rng_state(saved["random"])
    _watch(journal.directory)
    values: dict[str, float] = {}
    with (journal.directory / DONE).open("a", buffering=1) as done:
        for step in range(first, config.steps + 1):
            place = place + torch.randn(64)
            values = {"eval/em": float(torch.sigmoid(place.mean())), "train/reward_mean": float(place[0])}
            values |= {f"eval/em/{suite}": values["eval/em"] for suite in config.data.eval_suites}
            time.sleep(STEP_S)
            journal.episodes(step, "train", [played(step, number, float(place[number])) for number in range(2)])
            if step > 0 and step % config.eval_every == 0:
                journal.policy(step, partial(_write_policy, place))
            begun, waited = time.perf_counter(), _run_queue_s()
            journal.event("walked", step=step, place=place.tolist())
            journal.metrics(step, {**values, "time/step_s": begun})
            taken = time.perf_counter() - begun
            done.write(f"{os.getpid()} {step} {taken} {_run_queue_s() - waited}\n")
            if 0 < step < config.steps and step % config.checkpoint_every == 0:
                journal.checkpoint(step, {"step": step, "place": place, "random": torch.get_rng_state()})
    return {name: value for name, value in values.items() if name.startswith("eval/")}


def _write_policy(place: torch.Tensor, folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(place.numpy().tobytes())


def _run_queue_s() -> float:
    """Seconds that this thread has waited for a processor: a busy machine, not the journal."""
    text = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
    return int(text.split()[1]) / 1e9


def _watch(trial: Path) -> None:
    """Count opens, renames and removals in the folder to be struck from here on."""
    if not _strike:
        sys.addaudithook(_count)
    _strike[:] = [trial.parents[3] / STRIKE]
    _touched[0] = 0


def _count(event: str, args: tuple[Any, ...]) -> None:
    if event not in ("open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree"):
        return
    touched = [name for name in STRUCK if f"/{name}" in str(args[0])]
    if not touched:
        return
    target = _strike[0]
    try:
        folder, wanted = json.loads(target.read_text())
    except FileNotFoundError:
        return
    _touched[0] += folder in touched
    if _touched[0] >= wanted:
        target.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
