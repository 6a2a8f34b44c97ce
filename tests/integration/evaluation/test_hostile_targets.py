"""Promises of docs/security.md on targets of another person: services, variables, files and code are not theirs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from harness.ask import main as ask
from harness.config import ConfigError, TrialConfig, load_sweep
from harness.evaluate import main as evaluate
from harness.evaluation.evaluate_command import load_evaluation
from harness.operators.operator_settings import EndpointBackend
from harness.policy.export import load_export
from harness.policy.load import TINY_ASSETS, PolicyError
from harness.runs.lock import exclusive_lock
from harness.runs.run import TrialRun
from harness.sweep.run_trials import main as run_trials
from harness.tracking.__main__ import main as tracking
from reports.build import main as report
from reports.packing.write_study import write_study
from tests.support.hostile_server import Hostile, hostile, reply
from tests.support.hostile_targets import (
    HOSTILE_SWEEP,
    SECRETS,
    hostile_config,
    hostile_pickle,
    hostile_policy,
    hostile_run,
    hostile_store,
    hostile_sweep_folder,
)
from tests.support.synthetic_sweep import made_frames, write_sweep
from tests.support.trained_policies import export
from tests.support.trained_policies import trained as policy

GOVERNED = [
    "data.path",
    "environment.backend.base_url",
    "environment.backend.cache",
    "environment.backend.key_variable",
    "environment.search.retriever.key_variable",
    "environment.search.retriever.url",
]
OURS = ["environment.search.retriever={kind: bm25}", "data.source=world", "data.path=null"]
"""What a user gives in place of a target's own retriever and questions."""


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def attacker() -> Iterator[Hostile]:
    with hostile(reply()) as server:
        yield server


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user's, in a folder of their own."""
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "thesis.txt"
    path.write_text("years of work")
    return path


def refused(*words: str, trust: bool = False) -> dict[str, str]:
    """Messages with their hints, by the setting that each begins with."""
    with pytest.raises(ConfigError) as caught:
        load_evaluation(words, trust)
    return {p.message.split()[0].rstrip(":"): f"{p.message} ({p.hint})" for p in caught.value.problems}


@pytest.mark.parametrize("make", [hostile_policy, hostile_run])
def test_a_target_chooses_no_service_no_variable_and_no_file(
    make: Callable[[Path, dict[str, Any]], Path], attacker: Hostile, victim: Path, tmp_path: Path
) -> None:
    target = make(tmp_path / "target", hostile_config(attacker.url, victim))
    found = refused(str(target))
    assert sorted(found) == GOVERNED
    assert attacker.url in found["environment.backend.base_url"]
    assert "AWS_SECRET_ACCESS_KEY" in found["environment.backend.key_variable"]
    assert all("--trust" in message for message in found.values())
    assert ask(["Why?", "--policy", str(target), "method=direct"]) == 2
    assert evaluate([str(target), "method=direct", "--out", str(tmp_path / "out")]) == 2
    assert (attacker.seen, attacker.connections) == ([], 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["private", "target"]
    assert [p.name for p in victim.parent.iterdir()] == ["thesis.txt"]


def test_an_address_given_by_the_user_gets_no_variable_and_no_file_of_the_targets_choice(
    attacker: Hostile, victim: Path, tmp_path: Path
) -> None:
    target = hostile_policy(tmp_path / "target", hostile_config("http://127.0.0.1:9/v1", victim, "GROQ_API_KEY"))
    address = f"environment.backend.base_url={attacker.url}"
    assert sorted(refused(str(target), address, *OURS)) == [
        "environment.backend.cache",
        "environment.backend.key_variable",
    ]
    own = "environment.backend={kind: openai, base_url: '%s', model: m}" % attacker.url  # noqa: UP031
    words = [str(target), own, *OURS, "environment.backend.cache=null"]
    refused_still = refused(*words)
    assert sorted(refused_still) == ["environment.backend.key_variable"]
    _, (found,) = load_evaluation([*words, "environment.backend.key_variable=OPENAI_API_KEY"])
    assert isinstance(found.config.environment.backend, EndpointBackend)
    assert found.config.environment.backend.key_variable == "OPENAI_API_KEY"
    assert attacker.connections == 0


def test_what_a_target_names_is_used_with_trust_alone_and_shown_first(
    attacker: Hostile, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = hostile_config(attacker.url, tmp_path / "cache.db", "GROQ_API_KEY")
    target = hostile_policy(tmp_path / "target", config)
    words = ["Why?", "--policy", str(target), "method=direct", *OURS]
    assert ask(words) == 2
    assert attacker.connections == 0
    capsys.readouterr()
    assert ask([*words, "--trust"]) == 0
    printed = capsys.readouterr().out
    before = printed[: printed.index("turn 1")]
    assert f"operator LLM: m at http://127.0.0.1:{attacker.port}, key $GROQ_API_KEY" in before
    assert f"environment.backend.base_url is '{attacker.url}', named by {target}/provenance.json" in before
    assert "environment.backend.cache" in before
    assert [seen.headers["authorization"] for seen in attacker.seen] == [f"Bearer {SECRETS['GROQ_API_KEY']}"]
    assert SECRETS["GROQ_API_KEY"] not in printed


def test_trust_does_not_cover_variables_of_other_services(
    attacker: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = hostile_policy(tmp_path / "target", hostile_config(attacker.url, tmp_path / "c.db"))
    found = refused(str(target), *OURS, trust=True)
    assert list(found) == ["environment.backend.key_variable"]
    assert "AWS_SECRET_ACCESS_KEY is no provider's key" in found["environment.backend.key_variable"]
    monkeypatch.setenv("WORKFLOW_HARNESS_KEY_VARIABLES", "A, AWS_SECRET_ACCESS_KEY")
    _, (confirmed,) = load_evaluation([str(target), *OURS], trust=True)
    assert any("AWS_SECRET_ACCESS_KEY" in line for line in confirmed.confirmed)


def test_a_profile_that_a_target_names_is_not_read(victim: Path, tmp_path: Path) -> None:
    own = tmp_path / "profile.yaml"
    own.write_text(
        yaml.safe_dump({"environment": {"backend": {"kind": "openai", "base_url": "http://x", "model": "m"}}})
    )
    config = TrialConfig.model_validate_json(_without_services(hostile_config("http://x", victim))).model_dump(
        mode="json"
    )
    del config["environment"]["backend"]
    target = hostile_policy(tmp_path / "target", {**config, "profile": str(own)})
    _, (found,) = load_evaluation([str(target)])
    assert found.config.environment.backend.kind == "simulated"


def _without_services(config: dict[str, Any]) -> str:
    config["environment"]["backend"] = {"kind": "simulated"}
    config["environment"]["search"]["retriever"] = {"kind": "bm25"}
    config["data"] |= {"source": "world", "path": None}
    return json.dumps(config)


def test_a_prepared_trial_of_another_person_runs_with_none_of_its_services(
    attacker: Hostile, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hostile_run(tmp_path / "trial", hostile_config(attacker.url, victim))
    before = sorted(p.name for p in folder.iterdir())
    assert run_trials([str(folder)]) == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in GOVERNED)
    assert run_trials([str(folder), "--trust"]) == 2  # the variable
    assert (sorted(p.name for p in folder.iterdir()), attacker.connections) == (before, 0)


# stores and folders that results are written to


@pytest.mark.parametrize("uri", ["{url}", "sqlite:///{home}/elsewhere/mlflow.db"])
def test_a_replay_goes_to_no_store_that_the_folder_names(
    uri: str, attacker: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = uri.format(url=attacker.url, home=tmp_path)
    root = hostile_sweep_folder(tmp_path / "runs" / "demo", tracking={"uri": named, "experiment": None})
    assert tracking(["replay", str(root)]) == 2
    printed = capsys.readouterr().err
    assert named in printed
    assert "--trust" in printed
    assert attacker.connections == 0
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_beside_a_target_leads_nowhere_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = hostile_sweep_folder(tmp_path / "runs" / "demo")
    for place in (f"file://{tmp_path}/private", "s3://attacker/x", "http://127.0.0.1:9/x", str(tmp_path / "private")):
        hostile_store(tmp_path / "runs" / "mlflow.db", place)
        assert tracking(["replay", str(root)]) == 2
        assert "keeps artifacts in" in capsys.readouterr().err
        (tmp_path / "runs" / "mlflow.db").unlink()
    mine = tmp_path / "mine.db"
    with sqlite3.connect(mine) as db:
        db.execute("CREATE TABLE cookies (name TEXT)")
    (tmp_path / "runs" / "mlflow.db").symlink_to(mine)
    before = mine.read_bytes()
    assert tracking(["replay", str(root)]) == 2
    assert "symbolic link" in capsys.readouterr().err
    assert mine.read_bytes() == before


def test_results_are_written_through_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "private").mkdir()
    root = hostile_sweep_folder(tmp_path / "runs" / "demo")
    (tmp_path / "runs" / "evaluations").symlink_to(tmp_path / "private")
    (trial,) = (root / "trials").iterdir()
    assert evaluate([str(trial), "method=direct", "data.eval_questions=1", "data.eval_suites=[world_single]"]) == 2
    assert "evaluations is a symbolic link" in capsys.readouterr().err
    (root / "report").symlink_to(tmp_path / "private")
    assert report([str(root)]) == 1
    assert "report is a symbolic link" in capsys.readouterr().err
    (root / ".lock").symlink_to(tmp_path / "private" / "made")
    with pytest.raises(OSError, match="symbolic link"), exclusive_lock(root):
        pass
    assert list((tmp_path / "private").iterdir()) == []


@pytest.mark.parametrize("name", ["../../private", "..", "/", ".hidden", "a/b"])
def test_a_sweeps_name_chooses_no_folder_that_results_replace(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "thesis.txt").write_text("years of work")
    root = write_sweep(tmp_path / "runs", made_frames())
    manifest = yaml.safe_load((root / "sweep.yaml").read_text())
    (root / "sweep.yaml").write_text(yaml.safe_dump({**manifest, "name": name}))
    with pytest.raises(ValueError, match="is no folder's name"):
        write_study(root, tmp_path / "results" / "here")
    assert (tmp_path / "private" / "thesis.txt").exists()
    assert not (tmp_path / "results").exists()


# code


def _pickled(folder: Path, ran: Path) -> None:
    (folder / "model.safetensors").unlink()
    hostile_pickle(folder / "pytorch_model.bin", ran)


def _kernel(folder: Path, ran: Path) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"attn_implementation": "attacker/kernel"}
    (folder / "config.json").write_text(json.dumps(settings))


def _quantised(folder: Path, ran: Path) -> None:
    quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | quantised))


def _pickled_shard(folder: Path, ran: Path) -> None:
    (folder / "model.safetensors").unlink()
    hostile_pickle(folder / "shard.bin", ran)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"model.embed_tokens.weight": "shard.bin"}}')


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_pickled, "pickled weights"),
        (_pickled_shard, "no safetensors file"),
        (_kernel, "names the kernel 'attacker/kernel'"),
        (_quantised, "quantised weights"),
    ],
)
def test_no_code_of_a_policy_runs(harm: Callable[[Path, Path], None], message: str, tmp_path: Path) -> None:
    folder, ran = tmp_path / "policy", tmp_path / "ran"
    shutil.copytree(TINY_ASSETS, folder)
    harm(folder, ran)
    with pytest.raises(PolicyError, match=message):
        load_export(folder, torch.float32)
    assert not ran.exists()


def test_the_pickle_of_these_tests_would_run(tmp_path: Path) -> None:
    hostile_pickle(tmp_path / "x.bin", tmp_path / "ran")
    torch.load(tmp_path / "x.bin", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_no_module_that_an_adapter_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nModel = object\n")
    monkeypatch.syspath_prepend(tmp_path)
    adapter = export(policy(lora=True), tmp_path, merged=False, base=str(TINY_ASSETS))
    path = adapter / "adapter_config.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({**plain, "megatron_core": "theirs", "megatron_config": {"a": 1}}))
    with pytest.raises(PolicyError, match="megatron_config"):
        load_export(adapter, torch.float32)
    mapping = {"parent_library": "theirs", "base_model_class": "Model"}
    path.write_text(json.dumps({**plain, "megatron_core": "theirs", "auto_mapping": mapping}))
    load_export(adapter, torch.float32)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_holds_code_is_not_used(tmp_path: Path) -> None:
    run = TrialRun(hostile_run(tmp_path / "trial", hostile_config("http://x", tmp_path / "v")))
    folder = run.folder / "checkpoints"
    folder.mkdir()
    for name in ("step-000001.pt", "step-000002.pt", "2.pt"):
        hostile_pickle(folder / name, tmp_path / "ran")
    assert run.newest_checkpoint("k")[0] is None
    assert not (tmp_path / "ran").exists()


# a sweep file of another person: the user who runs it vouches for its services, not for its victims


@pytest.mark.parametrize(
    ("variable", "ours", "message"),
    [
        ("AWS_SECRET_ACCESS_KEY", False, "AWS_SECRET_ACCESS_KEY is a credential of another service"),
        ("PGPASSWORD", False, "PGPASSWORD is a credential"),
        ("HF_TOKEN", False, "HF_TOKEN is a credential"),
        ("OPENAI_API_KEY", True, None),
        ("MY_LAB_KEY", True, None),
        ("COMPASS_API_KEY", True, None),
    ],
)
def test_a_sweep_file_sends_no_credential_of_another_service(
    variable: str, ours: bool, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(HOSTILE_SWEEP.format(url="http://127.0.0.1:9/v1", variable=variable, victim=tmp_path / "new.db"))
    if ours:
        assert load_sweep(path)
        return
    assert message is not None
    with pytest.raises(ConfigError, match=message):
        load_sweep(path)
    load_sweep(path, [f"environment.backend.key_variable={variable}"])


def test_a_sweep_file_writes_no_cache_over_another_file(victim: Path, tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(HOSTILE_SWEEP.format(url="http://127.0.0.1:9/v1", variable="OPENAI_API_KEY", victim=victim))
    with pytest.raises(ConfigError, match="is there and is no response cache"):
        load_sweep(path)
    assert victim.read_text() == "years of work"


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system ''"])
def test_a_sweep_file_runs_no_code(value: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(f"name: demo\nhypothesis: {value}\nprofile: tiny\nparameters: {{}}\nseeds: [0]\n")
    with pytest.raises(
        ConfigError, match=r"theirs.yaml:2:13: (hypothesis must be text|the tag .* is not allowed here)"
    ):
        load_sweep(path)
    assert not os.path.exists("ran")
