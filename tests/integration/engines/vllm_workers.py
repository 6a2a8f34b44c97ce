"""One of several workers that train a small trial, each with a vLLM engine of its own in its process.

`python -m tests.integration.engines.vllm_workers RANK SIZE FOLDER` writes what it came to to FOLDER/RANK.pt.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch

from harness.training.train import run_trial
from tests.support.membership import membership
from tests.support.memory_sink import Memory
from tests.support.small_trials import small_trial

ENGINE = ("engine={kind: vllm, kv_cache_gib: 0.25}",)


def main(rank: int, size: int, folder: Path) -> None:
    with membership(rank, size, folder / "meeting") as workers:
        memory = Memory()
        run_trial(small_trial(0, *ENGINE), memory, workers)
        gc.collect()  # the trial's engine has ended with it
        after = workers.gather(rank)
        tokens = [[t.token_ids.tolist() for t in memory.played[step, "train"]] for step in (1, 2)]
        torch.save({"values": memory.values, "tokens": tokens, "after": after}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
