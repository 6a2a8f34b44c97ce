"""The wheel holds the code, its data and the studies, no results; installed elsewhere, its commands and hints work."""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("ablations", "analysis", "harness", "reports")
LEFT_OUT = ("reports/results/", "reports/pictures/", "reports/smollm2/", "reports/FINDINGS.md", "reports/calibration/")
READ_AT_RUN_TIME = {"reports/calibration/calibration.csv"}
MOST_BYTES = 4_000_000


def sources() -> set[str]:
    """Files of the checkout, ignored ones apart."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: a build folder in the checkout may hold files that are gone."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in sources():
        if name.split("/")[0] in {*PACKAGES, "pyproject.toml", "README.md", "LICENSE"}:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, copy]
    subprocess.run(pip, check=True, timeout=280)
    [built] = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel, and the packages of this one beside it (without the checkout)."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-q", "--no-deps", wheel]
    subprocess.run(pip, check=True, timeout=280)
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "rest.pth").write_text("\n".join(site.getsitepackages()))
    return home


def run(installed: Path, folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Types a line into a shell in which the environment is active."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PATH"] = f"{installed / 'bin'}:{environment['PATH']}"
    return subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


def test_the_wheel_holds_code_data_and_studies_and_no_results(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {name for name in sources() if name.split("/")[0] in PACKAGES and not name.startswith(LEFT_OUT)}
    assert held == wanted | READ_AT_RUN_TIME
    assert {"ablations/granularity.yaml", "harness/py.typed", "harness/policy/assets/model.safetensors"} <= held
    assert wheel.stat().st_size < MOST_BYTES


def test_the_wheel_is_licensed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode().splitlines()
        assert any(name.endswith("LICENSE") for name in archive.namelist())


@pytest.mark.timeout(600)
def test_a_shipped_study_is_prepared_run_and_reported_elsewhere_by_the_printed_commands(installed, tmp_path):
    settings = "seeds=1 steps=1 data.eval_suites=[world_single] --only gsspo*"
    done = run(installed, tmp_path, f"workflow-harness sweep granularity.yaml --prepare --small {settings}")
    assert done.returncode == 0, done.stderr
    again, then = [line.partition("workflow-harness ")[2] for line in done.stdout.splitlines() if " workflow-" in line]
    assert "make " not in done.stdout
    done = run(installed, tmp_path, f"workflow-harness {again}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert then.startswith("sweep ")
    folder = tmp_path / "runs" / "granularity-small"
    done = run(installed, tmp_path, f"workflow-harness report {folder}")
    assert done.returncode == 0, done.stderr
    assert (folder / "report" / "report.html").stat().st_size > 10_000
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_findings_need_a_checkout_and_say_so(installed, tmp_path):
    done = run(installed, tmp_path, "workflow-harness findings")
    assert done.returncode == 2
    assert "checkout" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_objectives_and_protocol_need_torch_and_numpy_alone(tmp_path):
    done = run(Path(sys.executable).parents[1], ROOT, shlex.join([sys.executable, "-c", CORE]))
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 20


CORE = """\
import importlib, importlib.abc, importlib.metadata as metadata, pkgutil, re, sys

def needed(*names):
    found, todo = set(), list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            try:
                asked = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            todo += [re.match("[A-Za-z0-9._-]+", a)[0].lower() for a in asked if "extra ==" not in a]
    return {name.replace("_", "-") for name in found}

distributions = needed("torch", "numpy")
owners = metadata.packages_distributions().items()
allowed = {top for top, names in owners if {n.lower().replace("_", "-") for n in names} & distributions}
allowed |= {*sys.stdlib_module_names, "harness"}

class NothingElse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} is not among the core's requirements", name=name)

sys.meta_path.insert(0, NothingElse())
count = 0
for package in ("harness.objectives", "harness.protocol"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
        count += 1
print(count)
"""
