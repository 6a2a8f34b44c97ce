"""Make .venv-vllm: the packages of constraints.txt, completed and here and there changed by those of vLLM.

    python3 .ci/setup_vllm.py            # TORCH=auto: vLLM for CUDA where nvidia-smi answers, for CPU elsewhere

vLLM needs an environment of its own because it wants other versions of some packages than the rest does. As in
`setup_env.py` nothing is resolved: the lists name every package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import setup_env as common

PINS = {"cpu": common.ROOT / "constraints-vllm.txt", "cuda": common.ROOT / "constraints-vllm-cuda.txt"}


def merged(*lists: str) -> list[str]:
    """The pins of several lists as one; of a package in two of them, the later pin."""
    pins: dict[str, str] = {}
    for text in lists:
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                pins[re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()] = line.strip()
    return list(pins.values())


def main() -> int:
    try:
        build = common.wanted_build(os.environ.get("TORCH") or "auto", common.has_gpu())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    home = common.ROOT / ".venv-vllm"
    python = home / "bin" / "python"
    pins = merged(common.PINS.read_text(encoding="utf-8"), PINS[build].read_text(encoding="utf-8"))
    try:
        if not python.exists():
            venv.create(home, with_pip=True)
        print(f"vLLM: {build} build", flush=True)
        common.install_torch(python, build)
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / "pins.txt"
            listed.write_text("\n".join(pins), encoding="utf-8")
            common.run(python, "-m", "pip", "install", "--no-deps", "-r", listed)
        common.run(python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "-e", ".")
    except subprocess.CalledProcessError as error:
        print(f"set-up stopped: {' '.join(map(str, error.cmd))} ended with status {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
