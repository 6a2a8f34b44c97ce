"""What kind of machine this is, in words that name no particular one."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("torch", "numpy", "transformers", "ray")


def machine_kind() -> str:
    """ "Intel Xeon Processor, 2 cores, 24 GB, Linux x86_64": processor, cores this process may use, memory, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{_processor()}, {cores} cores, {memory} GB, {platform.system()} {platform.machine()}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    name = found[1] if found else platform.processor() or "unknown processor"
    return " ".join(re.sub(r"\((R|TM)\)|@.*", "", name).split())


def packages() -> dict[str, str]:
    """Versions of the packages that decide a trial's numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def revision() -> str | None:
    """The commit of the working tree, None outside of one; with "+" where files differ from it."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".."], cwd=here, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty else "")
