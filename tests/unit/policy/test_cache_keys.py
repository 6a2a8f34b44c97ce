"""What is made once and kept is found by the content it was made from, never by names, sizes or times."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.policy import gguf
from harness.training.warm_start.start_policy import questions_digest, weights_digest
from harness.types import Question


def test_a_gguf_of_the_same_name_size_and_time_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def convert(file: Path, folder: Path) -> None:
        made.append(file.read_bytes())
        (folder / "weights").write_bytes(file.read_bytes())

    monkeypatch.setattr(gguf, "_convert", convert)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one model")
    state = file.stat()
    first = gguf.convert_gguf(file, tmp_path / "cache")
    file.write_bytes(b"two model")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = gguf.convert_gguf(file, tmp_path / "cache")
    assert [(f / "weights").read_bytes() for f in (first, second)] == [b"one model", b"two model"]
    moved = file.rename(tmp_path / "other.gguf")
    assert gguf.convert_gguf(moved, tmp_path / "cache") == second
    (second / "weights").write_bytes(b"two mode")  # cut
    assert (gguf.convert_gguf(moved, tmp_path / "cache") / "weights").read_bytes() == b"two model"
    assert made == [b"one model", b"two model", b"two model"]


def test_another_number_in_the_weights_is_another_start() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    before = weights_digest(model)
    assert weights_digest(model) == before
    with torch.no_grad():
        model.weight[1, 2] += 1e-3
    assert weights_digest(model) != before


@pytest.mark.parametrize(
    "changed", [{"text": "Who else?"}, {"answers": ("B",)}, {"id": "2"}, {"supporting": ("p2",)}, {"supporting": ()}]
)
def test_other_training_questions_are_another_start(changed: dict[str, object]) -> None:
    titles = {"p1": "Chad", "p2": "Mali"}
    question = Question("1", "Who?", ("A",), "nq", supporting=("p1",))
    before = questions_digest([question], titles)
    assert questions_digest([question], titles) == before
    assert questions_digest([replace(question, **changed)], titles) != before
    assert questions_digest([question], {**titles, "p1": "Niger"}) != before
