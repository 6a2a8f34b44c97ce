"""Every command on the page "From laptop to cluster" names options, keys, targets and files that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest

from harness.config import SweepSpec, load_sweep, load_trial
from harness.operators.operator_settings import EndpointBackend, SearchR1Settings
from harness.sweep import __main__ as sweep
from harness.sweep.memory_plan.gpus import parse_gpus
from harness.sweep.memory_plan.show import judge, workload

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
SWEEPS = [line for line in COMMANDS if "harness.sweep " in line]


def options_of(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


@cache
def usage(module: str, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def click_options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_the_page_is_linked_and_says_something() -> None:
    assert "docs/cluster.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(SWEEPS) >= 8
    assert len(COMMANDS) >= 18


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)
    while re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        words = words[1:]
    program, *rest = words
    if program in ("python", ".venv-vllm/bin/python"):  # both have the harness's own modules
        assert rest[0] == "-m"
        module, sub = rest[1], [w for w in rest[2:3] if rest[1] in ("harness.data", "harness.tracking")]
        text = usage(module, *sub)
        missing = [o for o in options_of(rest[2:]) if not re.search(rf"(?<![\w-]){o}(?![\w-])", text)]
        assert not missing
    elif program == ".venv-vllm/bin/vllm":  # vLLM is not in this environment: the model and the port are the profile's
        backend = load_trial("qwen7b", ["data.path=."]).environment.backend
        assert isinstance(backend, EndpointBackend)
        assert rest[:2] == ["serve", backend.model]
        assert f":{rest[rest.index('--port') + 1]}/" in backend.base_url
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
        assert set(rest) <= set(targets)
    elif program == "ray":
        from ray.scripts.scripts import cli

        assert options_of(rest[1:]) <= click_options(cli.commands[rest[0]])
    elif program == "mlflow":
        from mlflow.cli import cli as mlflow

        assert options_of(rest[1:]) <= click_options(mlflow.commands[rest[0]])
    else:
        pytest.fail(f"a program that is not checked: {program}")


@pytest.mark.parametrize("line", SWEEPS)
def test_a_sweeps_file_and_settings_load(line: str) -> None:
    words = shlex.split(line)[3:]
    file, *rest = [w for w in words if not w.startswith("--")]
    overrides = [w for w in rest if re.match(r"[a-z_.0-9]+=", w)]
    assert load_sweep(ROOT / file, overrides, checks=()).cells


GPUS = {"4. One GPU": "1x80GB", "5. Eight GPUs in one machine": "8x80GB", "6. Several nodes": "8x80GB"}
"""What each section's machine has; of several nodes, each."""
TAKEN = [
    (heading, line.strip())
    for heading, section in re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE, flags=re.M)
    for line in section.splitlines()
    if "profile=qwen7b" in line and "--plan" not in line
]


def fits(spec: SweepSpec, gpus: str) -> bool:
    resources = spec.file.resources
    assert resources.gpus > 0
    return all(judge(workload(c, resources, on_gpu=True), parse_gpus(gpus), resources.gpus).fits for _, c in spec.cells)


@pytest.mark.parametrize(("heading", "line"), TAKEN)
def test_a_7b_command_that_is_to_run_fits_its_sections_gpus_and_has_vllm(heading: str, line: str) -> None:
    words = shlex.split(line)
    assert words[0] == ".venv-vllm/bin/python"  # the only environment that has the profile's engine
    overrides = [w for w in words[4:] if re.match(r"[a-z_.0-9]+=", w)]
    assert fits(load_sweep(ROOT / words[3], overrides, checks=()), GPUS[heading])


def test_each_section_with_gpus_has_a_7b_command_and_the_judge_can_refuse() -> None:
    assert {heading for heading, _ in TAKEN} == set(GPUS)
    full = ["profile=qwen7b", "data.path=/shared/qa", "resources.gpus_per_trial=1.0"]
    assert not fits(load_sweep(ROOT / "ablations/granularity.yaml", full, checks=()), "8x80GB")


def test_the_services_of_the_page_are_where_the_profile_asks() -> None:
    (line,) = (c for c in COMMANDS if "harness.operators.retrieval.server" in c)
    retriever = load_trial("qwen7b", ["data.path=."]).environment.search.retriever
    assert isinstance(retriever, SearchR1Settings)
    assert retriever.url == f"http://127.0.0.1:{shlex.split(line)[-1]}/retrieve"


def test_a_sweep_without_its_vllm_is_refused_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    file = str(ROOT / "ablations/granularity.yaml")
    assert sweep.main([file, "engine={kind: vllm}", "--out", str(tmp_path / "runs")]) == 2
    assert "make setup-vllm" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_sweep_file_on_the_page_loads(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    path = tmp_path / "page.yaml"
    path.write_text(text, encoding="utf-8")
    spec = load_sweep(path, checks=())
    assert len(spec.cells) == 15
    assert spec.file.resources.workers == 8
    assert fits(spec, "8x80GB")


def test_settings_named_in_the_text_exist() -> None:
    from harness.config.schema import TrialConfig
    from harness.config.sweep_file import SweepFile

    for name in re.findall(r"`((?:resources|policy|update|engine|environment|data)\.[a-z_.]+)(?:=[^`]*)?`", PAGE):
        head, field = name.split(".")
        model = SweepFile if head == "resources" else TrialConfig
        annotation = model.model_fields[head].annotation
        members = getattr(annotation, "__args__", (annotation,))
        assert any(field in m.__annotations__ for m in members), name
