"""Model folders made by others: damaged, incomplete, or with code of their own. One line each, and nothing is run."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.ask import main as ask
from harness.evaluate import main as evaluate
from harness.policy.export import load_export
from harness.policy.load import TINY_ASSETS, PolicyError, load_policy
from tests.support.trained_policies import export, trained


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_ASSETS, tmp_path / "model"))


def refusal(folder: Path) -> str:
    """The one line that both loaders give."""
    lines = []
    for load in (
        lambda: load_export(folder, torch.float32),
        lambda: load_policy("hub", str(folder), init="start", dtype=torch.float32, seed=0, cache=folder),
    ):
        with pytest.raises(PolicyError) as caught:
            load()
        lines.append(str(caught.value))
    assert len(set(lines)) == 1
    assert "\n" not in lines[0]
    assert len(lines[0]) < 700
    return lines[0]


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def lacking_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def of_fewer_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 1, "layer_types": config.get("layer_types", ["full_attention"])[:1]}
    (folder / "config.json").write_text(json.dumps(config))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights of 100,000 bytes": (
        lambda f: _write(f / "model.safetensors", (f / "model.safetensors").read_bytes()[:100_000]),
        "model.safetensors: 100000 bytes instead of",
    ),
    "empty weights": (holding("model.safetensors", b""), "model.safetensors: cut"),
    "weights that are a web page": (holding("model.safetensors", b"<!doctype html><p>no" * 9), "model.safetensors"),
    "a pointer of Git LFS": (
        holding("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        "model.saf",
    ),
    "no weights": (without("model.safetensors"), "model.safetensors: missing"),
    "a cut config": (holding("config.json", b'{"model_type": "qw'), "config.json: not readable as JSON"),
    "a config that is a list": (holding("config.json", b"[]"), "config.json: holds no JSON object"),
    "a number of 5000 digits": (holding("config.json", b'{"vocab_size": ' + b"1" * 5000 + b"}"), "config.json"),
    "a cut tokenizer": (holding("tokenizer.json", b'{"version": "1.0", "trunc'), "tokenizer.json: not readable"),
    "bytes that are not UTF-8": (holding("tokenizer_config.json", b"\xff\xfe\x00"), "tokenizer_config.json"),
    "an index of shards that are not there": (
        holding("model.safetensors.index.json", b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
        "model-00001-of-00002.safetensors: missing",
    ),
    "an index that names a file elsewhere": (
        holding("model.safetensors.index.json", b'{"weight_map": {"a": "../../secret"}}'),
        "secret: missing",
    ),
    "a weight missing within": (lacking_a_weight, "lacks 1 weights, such as model.layers.1.mlp.down_proj.weight"),
    "weights of more layers than its config": (of_fewer_layers, "holds, beyond its config.json"),
    "an unknown architecture": (holding("config.json", b'{"model_type": "nonsense"}'), "nonsense"),
    "a config of odd types": (holding("config.json", b'{"model_type": "qwen2", "hidden_size": "big"}'), "cannot load"),
    "sizes of another model": (holding("config.json", b'{"model_type": "qwen2", "hidden_size": 64}'), "cannot load"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_one_line_with_the_file_at_fault(copied: Path, name: str) -> None:
    damage, fact = DAMAGE[name]
    damage(copied)
    assert fact in refusal(copied)


def test_a_file_cut_anywhere_is_refused(copied: Path) -> None:
    rng = random.Random(0)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        whole = (copied / name).read_bytes()
        for at in [0, 1, 7, 8, 9, len(whole) - 2, *(rng.randrange(len(whole) - 2) for _ in range(5))]:
            (copied / name).write_bytes(whole[:at])
            with pytest.raises(PolicyError, match=name):
                load_export(copied, torch.float32)
        (copied / name).write_bytes(whole)
    load_export(copied, torch.float32)


def test_an_adapter_is_refused_for_what_is_wrong_with_its_base(tmp_path: Path) -> None:
    base = Path(shutil.copytree(TINY_ASSETS, tmp_path / "base"))
    adapter = export(trained(lora=True), tmp_path, merged=False, base=str(base))
    load_export(adapter, torch.float32)
    (base / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(PolicyError, match=r"base/model\.safetensors: cut"):
        load_export(adapter, torch.float32)


def test_training_does_not_start_from_an_adapter(tmp_path: Path) -> None:
    adapter = export(trained(lora=True), tmp_path, merged=False, base=str(TINY_ASSETS))
    with pytest.raises(PolicyError, match="is an adapter"):
        load_policy("hub", str(adapter), init="start", dtype=torch.float32, seed=0, cache=tmp_path)


@pytest.mark.parametrize("model_type", ["llama", "their_own"])
def test_code_in_a_folder_is_never_run(
    copied: Path, model_type: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A known architecture is loaded as what it says it is; any other is refused. Nobody is asked to agree."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it offered to run the code"))
    ran = copied / "ran"
    (copied / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: ...\nclass Model: ...\n")
    auto = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model", "AutoTokenizer": ["theirs.T", None]}
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((copied / name).read_text()) | {"auto_map": auto}
        settings |= {"model_type": model_type} if name == "config.json" else {}
        (copied / name).write_text(json.dumps(settings))
    if model_type == "llama":
        load_export(copied, torch.float32)
        load_policy("hub", str(copied), init="random", dtype=torch.float32, seed=0, cache=copied)
    else:
        assert "auto_map" in refusal(copied)
        assert "trust_remote_code" not in refusal(copied)
    assert not ran.exists()


def test_an_evaluation_refuses_a_damaged_folder_before_it_plays(
    copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (copied / "model.safetensors").write_bytes((copied / "model.safetensors").read_bytes()[:100_000])
    assert evaluate([str(copied), "profile=tiny", "--out", str(copied.parent / "out")]) != 0
    said = capfd.readouterr().err
    assert "model.safetensors: 100000 bytes instead of" in said
    assert "Traceback" not in said
    assert not (copied.parent / "out").exists()


def test_weights_that_are_not_finite_end_an_evaluation_and_a_question_in_one_line(
    copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    small = ["data.eval_questions=2", "data.eval_questions=1", "data.eval_suites=[world_single]", "data.eval_samples=0"]
    out = copied.parent / "out"
    assert evaluate([str(copied), "profile=tiny", *small, "--out", str(out)]) == 1
    assert ask(["Where is Pest?", "--policy", str(copied), "profile=tiny"]) == 1
    shown = capfd.readouterr().err.splitlines()
    assert "data.eval_questions is given 2 times: the last counts" in shown
    lines = [line for line in shown if "not finite" in line]
    assert [line.partition(":")[0] for line in lines] == ["evaluation stopped", "cannot ask"]
    assert not list(out.glob("evaluations/*"))
