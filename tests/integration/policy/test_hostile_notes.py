"""Notes of foreign folders (trial.json, provenance.json, adapter_config.json): one line that names the file, always."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.load import LoadError, load_frames
from harness.evaluate import main as evaluate
from harness.policy.folder_checks import folder_fault
from harness.policy.folders import PROVENANCE, read_provenance
from harness.policy.load import TINY_ASSETS
from harness.runs.layout import INFO
from harness.runs.records import TrialInfo
from harness.runs.run import TrialRun
from tests.support.hostile_notes import HOSTILE_NOTES
from tests.support.hostile_rows import value

GOOD = {"key": "k1", "name": "gspo_seed3", "axes": {}, "labels": {}, "seed": 3, "code": "c", "config": {"seed": 3}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sweep's folder of one trial that kept an adapter as its policy."""
    trial = tmp_path / "sweep" / "trials" / "t"
    policy = trial / "policies" / "step-000001"
    policy.mkdir(parents=True)
    shutil.copy(TINY_ASSETS / "tokenizer.json", policy)
    (policy / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(TINY_ASSETS)})
    )
    (policy / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (policy / PROVENANCE).write_text('{"trial_key": "k1", "step": 1}')
    (trial / "config.yaml").write_text("seed: 3\n")
    (trial / INFO).write_text(json.dumps(GOOD))
    assert folder_fault(policy) is None
    assert TrialRun(trial).info() == TrialInfo("k1", "gspo_seed3", {}, {}, 3, "c", {"seed": 3})
    return trial


@pytest.mark.parametrize("name", HOSTILE_NOTES)
def test_every_reader_of_a_note_refuses_it_in_one_line_with_the_file(run: Path, name: str) -> None:
    content, words = HOSTILE_NOTES[name]
    policy = run / "policies" / "step-000001"
    for path in (run / INFO, policy / PROVENANCE, policy / "adapter_config.json"):
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as of_run:
        TrialRun(run).info()
    with pytest.raises(LoadError, match=words) as of_analysis:
        load_frames(run.parents[1])
    with pytest.raises(ValueError, match=words) as of_policy:
        read_provenance(policy)
    adapter = folder_fault(policy)
    refusals = [str(caught.value) for caught in (of_run, of_analysis, of_policy)] + [str(adapter)]
    for refusal, file in zip(refusals, (run / INFO, run / INFO, policy / PROVENANCE, policy), strict=True):
        assert refusal.startswith(str(file))
        assert refusal.isprintable()
        assert len(refusal) < len(str(file)) + 200


@pytest.mark.parametrize("key", ["k' or name != '", "../../k", "", "k" * 129, "k\n", 7])
def test_a_key_that_a_filter_or_a_folder_name_cannot_hold_is_refused(run: Path, key: object) -> None:
    policy = run / "policies" / "step-000001"
    (run / INFO).write_text(json.dumps(GOOD | {"key": key}))
    (policy / PROVENANCE).write_text(json.dumps({"trial_key": key, "step": 1}))
    with pytest.raises(ValueError, match="`key`"):
        TrialRun(run).info()
    with pytest.raises(ValueError, match="`trial_key`"):
        read_provenance(policy)


@pytest.mark.parametrize(
    "file", [INFO, f"policies/step-000001/{PROVENANCE}", "policies/step-000001/adapter_config.json"]
)
@pytest.mark.parametrize("name", ["half a surrogate pair", "a number of 400 digits", "100,000 lists in lists", "NaN"])
def test_an_evaluation_names_the_note_and_shows_no_traceback(
    run: Path, file: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, words = HOSTILE_NOTES[name]
    (run / file).write_bytes(content)
    target = run / "policies" / "step-000001" if file.endswith(PROVENANCE) else run
    assert evaluate([str(target), "--out", str(tmp_path / "out")]) == 2
    shown = "".join(capsys.readouterr())
    assert words in shown
    assert Path(file).name in shown
    assert "Traceback" not in shown


def test_ten_thousand_notes_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng, read = random.Random(5), 0
    trial, policy = tmp_path / INFO, tmp_path / PROVENANCE
    for _ in range(5000):
        note = {**GOOD, "revision": "r", "trial_key": "k", "step": 2}
        for _ in range(rng.randint(0, 2)):
            note[rng.choice(sorted(note))] = value(rng)
        policy.write_text(json.dumps(note))
        trial.write_text(json.dumps({k: v for k, v in note.items() if k not in ("trial_key", "step")}))
        for reader in (TrialRun(tmp_path).info, lambda: read_provenance(tmp_path)):
            refusal = _refusal(reader)
            read += refusal is None
            assert refusal is None or (refusal.startswith(str(tmp_path)) and refusal.isprintable())
    assert 1000 < read < 9000


def _refusal(reader: Callable[[], object]) -> str | None:
    try:
        reader()
    except ValueError as error:
        return str(error)
    return None
