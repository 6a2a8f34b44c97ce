"""What people look at of one trial: curves and episodes."""

from __future__ import annotations

import json
import re

from harness.config import load_trial
from harness.runs.journal import Journal
from harness.runs.layout import INFO
from harness.runs.run import TrialRun
from reports.trial_view import write_trial_views
from tests.support.synthetic_episodes import answer, call, episode, malformed


def made(folder, steps=3):
    config = load_trial("tiny").model_dump(mode="json")
    info = {"key": "k", "name": "gsspo_seed1", "axes": {}, "labels": {}, "seed": 1, "code": "c", "config": config}
    (folder / INFO).write_text(json.dumps(info))
    with Journal(folder) as journal:
        for step in range(steps):
            slips = [malformed(), call(fault="wrong_entity", observation="[1] <b>Niamey</b>"), answer()]
            journal.episodes(step, "train", [episode([answer()]), episode(slips, question=f"slip{step}")])
            journal.episodes(step, "eval", [episode([call(), answer()], question=f"eval{step}_{i}") for i in range(9)])
            numbers = {"eval/em": 0.1 * step, "eval/em/one_hop": 0.2 * step, "train/reward_mean": 0.3, "update/kl": 1.0}
            journal.metrics(step, numbers)
    return folder


def test_curves_name_every_benchmark(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write_trial_views(TrialRun(made(tmp_path)), out)
    svg = (out / "learning_curves.svg").read_text()
    assert svg.startswith("<?xml")
    for words in ("one_hop", "all suites", "Exact Match on evaluation questions", "Reward", "training step"):
        assert words in svg


def test_the_page_shows_units_faults_and_the_newest_of_every_failure_kind(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write_trial_views(TrialRun(made(tmp_path)), out)
    page = (out / "episodes.html").read_text()
    assert "<title>gsspo_seed1: episodes</title>" in page
    assert {"think", "act", "obs faulted", "tag fault"} <= set(re.findall(r"class='([a-z ]+)'", page))
    assert "&lt;b&gt;Niamey" in page  # what the policy or an operator wrote is text, never markup
    assert "<b>Niamey" not in page
    assert "step 2, train" in page
    assert "step 0, train" not in page
    assert page.count("last evaluation") == 8 + 1  # and once in the text above
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched


def test_a_trial_without_metrics_or_episodes_has_no_views(tmp_path):
    made(tmp_path, steps=0)
    out = tmp_path / "out"
    out.mkdir()
    write_trial_views(TrialRun(tmp_path), out)
    assert list(out.iterdir()) == []


def test_a_broken_episode_file_is_left_out(tmp_path):
    made(tmp_path)
    (tmp_path / "episodes" / "step-000002-eval.parquet").write_bytes(b"PAR1 broken")
    out = tmp_path / "out"
    out.mkdir()
    write_trial_views(TrialRun(tmp_path), out)
    assert "step 1, eval" in (out / "episodes.html").read_text()


def test_the_last_evaluation_is_the_newest_even_where_all_its_episodes_failed(tmp_path):
    made(tmp_path)
    with Journal(tmp_path) as journal:
        journal.episodes(9, "eval", [episode([malformed(), answer()], question="slip")])
    out = tmp_path / "out"
    out.mkdir()
    write_trial_views(TrialRun(tmp_path), out)
    page = (out / "episodes.html").read_text()
    assert "step 9, eval" in page
    assert page.count("last evaluation") == 1  # in the text above
