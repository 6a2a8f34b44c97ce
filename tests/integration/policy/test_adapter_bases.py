"""The base of an adapter is the version on the hub that the adapter was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.policy.export import load_export
from harness.policy.load import TINY_ASSETS, PolicyError
from tests.support.trained_policies import export, trained


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return export(trained(lora=True), tmp_path, merged=False, base="someone/model")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local copy of a repository with two versions, whose final norms differ."""
    repository = tmp_path / "hub" / "models--someone--model"
    for scale, (name, commit) in enumerate((("main", "a" * 40), ("v2", "b" * 40)), 1):
        snapshot = Path(shutil.copytree(TINY_ASSETS, repository / "snapshots" / commit))
        weights = load_file(snapshot / "model.safetensors")
        weights["model.norm.weight"] *= scale
        save_file(weights, snapshot / "model.safetensors", {"format": "pt"})
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / name).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def norm_under(adapter: Path, revision: Any) -> torch.Tensor:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"revision": revision}))
    model: Any = load_export(adapter, torch.float32).model
    return model.model.norm.weight.detach()


@pytest.mark.usefixtures("hub")
def test_an_adapter_sits_on_the_revision_that_it_names(adapter: Path) -> None:
    first = load_file(TINY_ASSETS / "model.safetensors")["model.norm.weight"]
    for revision, scale in ((None, 1), ("main", 1), ("v2", 2), ("b" * 40, 2)):
        assert torch.equal(norm_under(adapter, revision), scale * first)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("revision", ["../../elsewhere", "", 5, ["v2"], "v2\n", "x" * 300])
def test_a_revision_that_is_none_is_refused_by_name(adapter: Path, revision: Any) -> None:
    with pytest.raises(PolicyError, match=r"adapter_config\.json: `revision` has to be"):
        norm_under(adapter, revision)


@pytest.mark.usefixtures("hub")
def test_a_revision_that_is_not_there_is_one_line(adapter: Path) -> None:
    with pytest.raises(PolicyError, match="cannot load the policy") as caught:
        norm_under(adapter, "v3")
    assert "\n" not in str(caught.value)
