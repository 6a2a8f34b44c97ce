"""`.ci/setup` installs the build of torch that the machine or TORCH names, from the indexes that pip is set to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TORCH = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
INDEX_OF = {"cpu": "", "cuda": " + nvidia-cublas==13.1"}
PYTHON = """\
#!/bin/bash
echo "$*" >> "$LOG"
case "$*" in
"-m pip config list") echo "global.find-links='/a\\\\n/b'" ;;
*--dry-run*) echo "$OFFERED" ;;
*--reinstall-package*) echo "$UV_FIND_LINKS" > "$LOG.installed" ;;
"-c import torch"*) [ -e "$LOG.installed" ] && echo "$VERSION $BUILD" ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Runs the script in a copy, with a `python` that only records its arguments; returns them."""
    (tmp_path / ".ci").mkdir()
    for name in (".ci/setup", "constraints.txt", "constraints-vllm.txt", "constraints-vllm-cuda.txt"):
        shutil.copy(ROOT / name, tmp_path / name)

    def run(home: str = ".venv", mode: str = "auto", gpu: bool = False, offered: str = "cpu", build: str = "cpu"):
        tools = tmp_path / "tools"
        for path, text in {
            tmp_path / home / "bin" / "python": PYTHON,
            tools / "nvidia-smi": f"#!/bin/bash\nexit {0 if gpu else 9}\n",
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        known = {"PYTHON": "python3", "TORCH": mode, "LOG": tmp_path / "log", "VERSION": TORCH, "BUILD": build}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
        environment |= {k: str(v) for k, v in known.items()} | {"OFFERED": INDEX_OF[offered]}
        environment["PATH"] = f"{tools}:{environment['PATH']}"
        done = subprocess.run([tmp_path / ".ci" / "setup", home], env=environment, capture_output=True, text=True)
        log = tmp_path / "log"
        return done, log.read_text().splitlines() if log.exists() else []

    return run


def torch_line(log: list[str]) -> str:
    [line] = [line for line in log if "--reinstall-package torch" in line]
    return line


@pytest.mark.parametrize(
    ("mode", "gpu", "build"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", False, "cuda")],
)
def test_the_build_of_torch_follows_the_machine_unless_it_is_named(set_up, mode, gpu, build):
    done, log = set_up(mode=mode, gpu=gpu, offered=build, build=build)
    assert done.returncode == 0, done.stderr
    assert f"torch: {build} build" in done.stdout
    assert torch_line(log).endswith(f"torch=={TORCH}")


@pytest.mark.parametrize(
    ("offered", "build", "backend"),
    [("cpu", "cpu", None), ("cuda", "cuda", None), ("cuda", "cpu", "cpu"), ("cpu", "cuda", "auto")],
)
def test_the_index_is_left_only_where_it_has_the_other_build(set_up, offered, build, backend):
    _, log = set_up(mode=build, offered=offered, build=build)
    assert re.findall(r"--torch-backend=(\w+)", torch_line(log)) == ([backend] if backend else [])


def test_the_other_build_is_refused_in_the_end(set_up):
    done, _ = set_up(mode="cuda", offered="cpu", build="cpu")
    assert done.returncode == 1
    assert "no cuda build" in done.stderr


def test_an_unknown_build_is_refused(set_up):
    done, log = set_up(mode="rocm")
    assert done.returncode == 2
    assert "TORCH=rocm" in done.stderr
    assert log == []


def test_places_of_packages_are_those_of_pip(set_up, tmp_path):
    set_up()
    assert (tmp_path / "log.installed").read_text().strip() == "/a,/b"


def test_the_lists_are_installed_as_they_stand_and_vllms_own_wins(set_up):
    _, log = set_up()
    assert any(line.endswith("--no-deps -r constraints.txt") for line in log)
    _, log = set_up(home=".venv-vllm", mode="cuda", offered="cuda", build="cuda")
    own = "constraints-vllm-cuda.txt"
    assert any(line.endswith(f"--no-deps -r constraints.txt -r {own} --override {own}") for line in log)
