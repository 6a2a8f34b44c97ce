"""Kind of machine that runs a trial, without names that identify it, and versions of its packages."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("torch", "numpy", "transformers", "peft", "ray", "vllm")


def machine_kind() -> str:
    """ "Intel Xeon Processor, 2 cores, 24 GB, Linux x86_64": processor, cores this process may use, memory, system.

    GPUs that this process may use are at the end: "…, NVIDIA H100 80GB HBM3".
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = round(psutil.virtual_memory().total / 2**30)
    parts = [_processor(), f"{cores} cores", f"{memory} GB", f"{platform.system()} {platform.machine()}", *_gpus()]
    return ", ".join(parts)


def packages() -> dict[str, str]:
    """Versions of the installed packages that affect a trial's numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    name = found[1] if found else platform.processor() or "unknown processor"
    return " ".join(re.sub(r"\((R|TM)\)|@.*", "", name).split())


def _gpus() -> list[str]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
