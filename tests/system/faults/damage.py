"""Damaged checkpoints under the real worker: the one before is used, or the trial begins again; either is recorded."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

from harness.config import expand, load_sweep
from harness.runs.jsonl import read_lines
from harness.runs.layout import ATTEMPTS, CHECKPOINTS
from harness.runs.run import TrialRun
from harness.sweep.worker import run_one
from tests.system.faults.sweep_process import SWEEP

STOP = 23
"""The step after which the trial is broken off: its checkpoints are of 15 and 20."""


def trial(home: Path, code: str) -> Path:
    home.mkdir(parents=True)
    file = home / "faults.yaml"
    file.write_text(SWEEP)
    spec = expand(load_sweep(file), code)[0]
    TrialRun(home / "trial").prepare(spec, code, {})
    return home / "trial"


def damage(path: Path, rng: random.Random) -> str:
    raw = bytearray(path.read_bytes())
    position = rng.randrange(len(raw) - 1)  # the last byte of a manifest is its newline
    if rng.random() < 0.5:
        path.write_bytes(raw[:position])
        return "truncated"
    raw[position] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    return "flipped"


def check_damaged(home: Path, n: int, seed: int, code: str) -> Counter[str]:
    """`n` times: damage the newest or all checkpoints of a broken-off trial and run it. Raises AssertionError."""
    rng, counts = random.Random(seed), Counter[str]()
    whole, broken = trial(home / "whole", code), trial(home / "broken", code)
    run_one(TrialRun(whole), "tests.system.faults.cheap_steps:random_walk")
    try:
        run_one(TrialRun(broken), "tests.system.faults.damage_steps:breaks_off")
    except BaseException as error:
        assert "Broken" in f"{type(error).__name__} {error}"  # noqa: PT017 (as a kill: no word, no result)
    (broken / "result.json").unlink(missing_ok=True)
    for i in range(n):
        again = home / f"d{i}" / "trial"
        shutil.copytree(broken, again)
        everything = i % 3 == 2
        steps = (20, 15) if everything else (20,)
        for step in steps:
            counts[damage(again / CHECKPOINTS / f"step-{step:06d}.{rng.choice(['pt', 'json'])}", rng)] += 1
        run_one(TrialRun(again), "tests.system.faults.cheap_steps:random_walk")
        records = read_lines(again / ATTEMPTS).records
        told = [r["why"].split(":")[0] for r in records if r["event"] == "checkpoint not used"]
        assert told == [f"step-{step:06d}" for step in steps]
        assert records[-1].get("resumed_from") == (None if everything else 15)
        assert TrialRun(again).comparable_journal() == TrialRun(whole).comparable_journal()
        assert TrialRun(again).result()["final"] == TrialRun(whole).result()["final"]  # type: ignore[index]
        shutil.rmtree(again.parent)
    return counts
