"""GPUs of this machine, or those described by `--gpus`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.sweep.memory_plan.shapes import PlanError

USABLE = 0.94
"""Share of a GPU's memory that a plan may fill: the rest goes to the CUDA context and to NCCL's buffers."""
RESERVED = 0.11
"""What torch's allocator holds beyond its tensors during an update, as a share of them: the most that
`tests.benchmarks.memory_plan_gpu` found on an H200 (LoRA at 7B .03 to .04, full training of 1.5B .11)."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """`count` equal GPUs of `size` bytes."""

    count: int
    size: int

    def __str__(self) -> str:
        return f"{self.count} x {self.size / 1e9:.0f} GB"


ASSUMED = Gpus(1, 80 * 10**9)
"""GPU for which vLLM's share is shown when none is given: the one that the GPU profile is made for."""


def parse_gpus(text: str) -> Gpus:
    """`1x80GB`, `8x80GiB` or `24GB`. Raises PlanError."""
    found = re.fullmatch(r"(?:([1-9][0-9]*)\s*x\s*)?([0-9]+(?:\.[0-9]+)?)\s*(GB|GiB)", text.strip())
    if not found or float(found[2]) == 0:
        raise PlanError(f"{text!r} describes no GPUs: write 1x80GB, or 8x80GiB")
    return Gpus(int(found[1] or 1), int(float(found[2]) * (10**9 if found[3] == "GB" else 2**30)))


def detect_gpus() -> Gpus | None:
    """The GPUs of this machine; unequal ones count as the smallest. None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return Gpus(len(sizes), min(sizes))
