"""Results as small committed data say what the journals said, and name no place."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from analysis import convergence, exact_match, parse_reliability
from analysis.load import load_frames
from analysis.summary import summarise
from reports.packing import __main__ as door
from reports.packing.read_study import committed_studies, read_study
from reports.packing.write_study import redact_places, write_study
from reports.report_data import gather_report_data
from tests.support.full_sweep import full_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = full_sweep(tmp_path_factory.mktemp("results") / "made", seeds=3, questions=6, steps=12)
    config = yaml.safe_load((root / "sweep.yaml").read_text())
    config |= {
        "tracking": {"uri": f"sqlite:///{root}/mlflow.db"},
        "overrides": [f"data.path={root}", "steps=12"],
        "base": {"data": {"path": str(root)}, "policy": {"path": f"{root}/model"}},
    }
    (root / "sweep.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture(scope="module")
def packed(sweep):
    return write_study(sweep, sweep.parent / "out")


def test_the_packed_study_gives_the_numbers_of_the_journals(sweep, packed):
    frames, study = load_frames(sweep), read_study(packed)
    assert summarise(study.frames).csv() == summarise(frames).csv()
    assert study.frames.config_hash == frames.config_hash
    assert study.frames.seed_text() == frames.seed_text()
    assert study.registration.kept
    before, after = convergence.curve_areas(frames), convergence.curve_areas(study.frames)
    assert before.keys() == after.keys()
    assert all(before[k].equals(after[k]) for k in before)
    pd.testing.assert_frame_equal(
        parse_reliability.instability_table(study.frames), parse_reliability.instability_table(frames)
    )


def test_questions_are_paired_as_in_the_episodes(sweep, packed):
    whole, kept = gather_report_data(load_frames(sweep)), read_study(packed)
    pd.testing.assert_frame_equal(exact_match.by_hops(kept.greedy), exact_match.by_hops(whole.greedy))
    pd.testing.assert_frame_equal(
        exact_match.checkpoint_claims(kept.greedy, whole.contrasts, whole.plan),
        exact_match.checkpoint_claims(whole.greedy, whole.contrasts, whole.plan),
    )
    pd.testing.assert_frame_equal(
        parse_reliability.parse_rates(kept.greedy), parse_reliability.parse_rates(whole.greedy)
    )


def test_tables_of_whole_episodes_are_kept(packed):
    tables = read_study(packed).tables
    assert {"parse_rates", "parse_kinds", "parse_links", "faults_arm", "second_looks", "spreads"} <= set(tables)
    assert len(tables["parse_rates"]) == 3


def test_only_the_kind_of_the_machine_is_written(sweep, packed):
    import socket

    for path in packed.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for word in (str(sweep).encode(), str(sweep.parent).encode(), f'"{socket.gethostname()}"'.encode()):
                assert word not in data, path.name
    made = json.loads((packed / "provenance.json").read_text())
    assert made["command"] == "python -m harness.sweep ablations/made.yaml data.path=FOLDER steps=12"
    assert made["mode"] == "full"
    assert "cores" in made["machine"]
    assert yaml.safe_load((packed / "sweep.yaml").read_text())["base"]["policy"]["path"] == "FOLDER"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("environment.backend.base_url=http://10.0.0.1/v1", "environment.backend.base_url=FOLDER"),
        ("~/data", "FOLDER"),
        ({"model": "Qwen/Qwen2.5-7B-Instruct"}, {"model": "Qwen/Qwen2.5-7B-Instruct"}),
        ({"path": None, "low": 0.1}, {"path": None, "low": 0.1}),
        (["eval/em", "../x"], ["eval/em", "FOLDER"]),
    ],
)
def test_places_are_replaced_and_names_are_not(value, kept):
    assert redact_places(value) == kept


def test_a_small_run_is_kept_as_such_and_gives_way_to_a_full_one(sweep, packed, tmp_path):
    small = tmp_path / "run"
    small.mkdir()
    (small / "trials").symlink_to(sweep / "trials")
    config = yaml.safe_load((sweep / "sweep.yaml").read_text())
    (small / "sweep.yaml").write_text(yaml.safe_dump({**config, "name": "made-small"}))
    out = write_study(small, tmp_path / "out")
    study = read_study(out)
    assert (study.name, study.small) == ("made", True)
    assert study.provenance["command"].endswith("--small")
    (tmp_path / "out" / "made").symlink_to(packed)
    assert not committed_studies(tmp_path / "out")["made"].small


def test_the_door_writes_again_what_it_wrote_and_refuses_what_is_no_sweep(sweep, packed, tmp_path, capsys):
    assert door.main([str(sweep), "--out", str(tmp_path), "--revision", "abc"]) == 0
    assert "made" in capsys.readouterr().out
    again = tmp_path / "made"
    assert {p.name for p in tmp_path.iterdir()} == {"made"}
    for path in packed.rglob("*"):
        if path.is_file() and path.name != "provenance.json":
            assert (again / path.relative_to(packed)).read_bytes() == path.read_bytes(), path.name
    assert json.loads((again / "provenance.json").read_text())["revision"] == "abc"
    assert door.main([str(tmp_path / "none")]) == 1
