"""The contract on imports in pyproject.toml holds here, fails when broken and names every room."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("harness", "analysis", "reports")
MOST_ENTRIES = 24


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_every_import_points_down():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("harness/types/episode.py", "def late() -> None:\n    import harness.sweep.status", "harness.types"),
        ("analysis/stats/__init__.py", "import reports.figure_style", "analysis.stats"),
        ("harness/runs/jsonl.py", "from harness.runs import journal", "harness.runs"),
    ],
    ids=["lazily from above", "from another package", "in a circle of files"],
)
def test_an_import_that_breaks_the_contract_fails_in_the_checkout_that_holds_it(copy, module, line, broken):
    assert lint_imports(copy).returncode == 0
    path = copy / module
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    assert broken in done.stdout.partition("Broken contracts")[2]


def test_every_room_has_a_floor():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    named = {name.strip(" ()") for layer in layers for name in layer.replace("|", ":").split(":")}
    assert named - {"harness.__main__"} == {
        "analysis",
        "reports",
        *(
            f"harness.{name.removesuffix('.py')}"
            for name in entries()
            if not name.startswith("__") and name != "py.typed"
        ),
    }


def test_the_root_of_the_harness_is_seen_at_one_glance():
    assert len(entries()) <= MOST_ENTRIES, entries()


def entries() -> list[str]:
    """Files and folders directly within harness/, compiled files apart."""
    root = ROOT / "harness"
    kept = (path.relative_to(root).parts for path in root.rglob("*") if path.is_file())
    return sorted({parts[0] for parts in kept if "__pycache__" not in parts})
