"""One of the worker processes that a test of several starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch

from harness.distributed.collective import ProcessGroup


@contextmanager
def membership(rank: int, size: int, meeting: Path) -> Iterator[ProcessGroup]:
    """The group of `size` workers that meet at this file. The process ends with the block.

    It ends without Python's own ending, unless the block raises: FSDP's meshes keep gloo's threads past
    `destroy_process_group`, and one that frees a finished gather's tensors while Python ends aborts the process.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(seconds=120)
    )
    yield ProcessGroup()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
