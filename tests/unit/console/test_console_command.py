"""`workflow-harness VERB …` calls the doors that the modules have, and commands are printed as they can be typed."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import __main__ as console
from harness import paths
from harness.tracking.hints import where_mlflow_is

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("verb", console.VERBS)
def test_every_verb_is_the_door_of_a_module(verb):
    spec = find_spec(console.VERBS[verb][0])
    assert spec is not None
    [door] = [node for node in ast.parse(Path(spec.origin).read_text()).body if named_main(node)]
    if isinstance(door, ast.FunctionDef):
        assert [a.arg for a in door.args.args][:1] == ["arguments"]
        assert ast.unparse(door.returns) == "int"


def named_main(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return any(a.name == "main" for a in node.names)
    return isinstance(node, ast.FunctionDef) and node.name == "main"


def test_arguments_go_to_the_verb_as_they_are_and_its_status_comes_back(monkeypatch):
    seen = []
    door = SimpleNamespace(main=lambda arguments: seen.append(arguments) or 3)
    monkeypatch.setattr(console, "import_module", lambda name: door)
    assert console.main(["sweep", "a.yaml", "--dry-run", "steps=1", "--help"]) == 3
    assert console.main(["replay", "runs/a", "--uri", "sqlite:///b"]) == 3
    assert seen == [["a.yaml", "--dry-run", "steps=1", "--help"], ["replay", "runs/a", "--uri", "sqlite:///b"]]


def test_an_unknown_verb_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        console.main(["sweeep"])
    assert "sweeep" in capsys.readouterr().err


def test_help_lists_every_verb_and_loads_no_package():
    code = "import sys; from harness.__main__ import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    text, _, modules = done.stdout.strip().rpartition("\n")
    assert all(f"\n  {verb} " in text for verb in console.VERBS)
    heavy = {"torch", "numpy", "pandas", "pydantic", "ray", "mlflow", "rich", "yaml", "matplotlib"}
    assert not heavy & set(modules.split())


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch, capsys):
    def absent(name):
        raise ModuleNotFoundError("No module named 'pydantic'", name="pydantic")

    monkeypatch.setattr(console, "import_module", absent)
    assert console.main(["sweep", "a.yaml"]) == 2
    error = capsys.readouterr().err
    assert "pydantic" in error
    assert "[all]" in error


def test_a_missing_module_of_ours_is_a_defect_and_is_raised(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'harness.gone'", name="harness.gone")

    monkeypatch.setattr(console, "import_module", absent)
    with pytest.raises(ModuleNotFoundError):
        console.main(["sweep", "a.yaml"])


def test_commands_are_printed_in_the_form_that_started_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["/somewhere/pytest"])
    assert paths.command("sweep", "harness.sweep") == f"{paths.python()} -m harness.sweep"
    started = tmp_path / "a b" / paths.CONSOLE_COMMAND
    started.parent.mkdir()
    started.write_text("")
    started.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(started)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert shlex.split(paths.command("sweep", "harness.sweep")) == [str(started), "sweep"]
    monkeypatch.setenv("PATH", str(started.parent))
    assert paths.command("sweep", "harness.sweep") == "workflow-harness sweep"


def test_a_shipped_study_is_found_by_name_and_a_file_of_ones_own_comes_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shipped = ROOT / "ablations" / "granularity.yaml"
    names = ("granularity.yaml", "granularity", "ablations/granularity.yaml")
    assert [paths.sweep_file(Path(name)) for name in names] == [shipped] * 3
    for other in (Path("nothing.yaml"), Path("elsewhere/granularity.yaml")):
        assert paths.sweep_file(other) == other
    Path("granularity.yaml").write_text("name: mine\n")
    assert paths.sweep_file(Path("granularity.yaml")) == Path("granularity.yaml")


def test_without_a_checkout_mlflows_own_command_serves_the_store(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.tracking.hints.checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    line = where_mlflow_is(f"sqlite:///{tmp_path}/runs/mlflow.db", "/#/experiments/1")
    command, _, page = line.partition(", then ")
    words = shlex.split(command)
    assert "mlflow" in words
    assert words[words.index("--backend-store-uri") + 1] == "sqlite:///runs/mlflow.db"
    assert page == "http://127.0.0.1:5000/#/experiments/1"
