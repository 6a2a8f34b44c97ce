"""Make .venv with exactly the packages of constraints.txt, and the harness itself in editable form.

    python3 .ci/setup_env.py            # TORCH=auto: the CUDA build where nvidia-smi answers, the CPU build elsewhere
    TORCH=cpu python3 .ci/setup_env.py  # or cuda

constraints.txt lists every package, so nothing is resolved: pip installs the list as it is (--no-deps). Only torch is
installed with its dependencies before that, because its CUDA build needs NVIDIA's packages and its CPU build must not
bring them. Which of the two an index hands out differs: pip is asked first, and uv, which knows where both builds are,
takes over when the answer is the wrong one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
MODES = ("auto", "cpu", "cuda")


def wanted_build(mode: str, has_gpu: bool) -> str:
    """`cpu` or `cuda`. Raises ValueError for an unknown mode."""
    if mode not in MODES:
        raise ValueError(f"TORCH={mode}: one of {', '.join(MODES)}")
    return mode if mode != "auto" else "cuda" if has_gpu else "cpu"


def offered_build(report: Mapping[str, Any]) -> str:
    """What pip's report of a dry run says it would install: `cuda` if NVIDIA's packages come along, else `cpu`."""
    names = [item["metadata"]["name"].lower() for item in report["install"]]
    return "cuda" if any(name.startswith(("nvidia-", "cuda-")) for name in names) else "cpu"


def pinned(name: str) -> str:
    """The line of constraints.txt that pins a package. Raises LookupError."""
    for line in PINS.read_text(encoding="utf-8").splitlines():
        if line.lower().startswith(f"{name.lower()}=="):
            return line.strip()
    raise LookupError(f"{name} is not in {PINS.name}")


def has_gpu() -> bool:
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def install_torch(python: Path, build: str) -> None:
    """Install the pinned torch in the wanted build, unless it is there."""
    torch = pinned("torch")
    probe = "import torch; print(torch.__version__.split('+')[0], 'cuda' if torch.version.cuda else 'cpu')"
    found = subprocess.run([python, "-c", probe], capture_output=True, text=True)
    if found.returncode == 0 and found.stdout.split() == [torch.partition("==")[2], build]:
        return
    ask = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    answer = subprocess.run([*ask, "-c", str(PINS), torch], check=True, stdout=subprocess.PIPE, text=True)
    if offered_build(json.loads(answer.stdout)) == build:
        run(python, "-m", "pip", "install", "--force-reinstall", "-c", str(PINS), torch)
        return
    run(python, "-m", "pip", "install", "--no-deps", pinned("uv"))
    backend = "cpu" if build == "cpu" else "auto"
    uv = (python, "-m", "uv", "pip", "install", "--python", python, f"--torch-backend={backend}")
    run(*uv, "--reinstall-package", "torch", "-c", PINS, torch)


def run(*command: str | Path) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (it is run by whatever python there is)
        print(
            f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11 …",
            file=sys.stderr,
        )
        return 2
    try:
        build = wanted_build(os.environ.get("TORCH") or "auto", has_gpu())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    home = ROOT / ".venv"
    python = home / "bin" / "python"
    try:
        if not python.exists():
            venv.create(home, with_pip=True)
        print(f"torch: {build} build", flush=True)
        install_torch(python, build)
        run(python, "-m", "pip", "install", "--no-deps", "-r", PINS)
        run(python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "-e", ".")
    except subprocess.CalledProcessError as error:
        print(f"set-up stopped: {' '.join(map(str, error.cmd))} ended with status {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
