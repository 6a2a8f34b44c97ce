"""Before and after training: the same questions, suites that weigh the same, checkpoints that are comparable."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from analysis.checkpoint_progress import before_and_after
from analysis.episode_frames import load_episodes
from analysis.load import load_frames
from tests.support.synthetic_episodes import answer, episode, write
from tests.support.synthetic_sweep import made_frames, write_sweep

SUITES = {"one_hop": ([0, 0, 1, 1], [1, 1, 1, 0]), "two_hop": ([0, 0], [0, 1])}


@pytest.fixture
def sweep(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0, 1, 2)))
    first, second, third = load_frames(root).trials["trial"]
    for step, which in ((0, 0), (10, 0), (20, 1)):
        episodes = [
            episode([answer()], f"q{i}", suite, em=float(em))
            for suite, columns in SUITES.items()
            for i, em in enumerate(columns[which])
        ]
        write(root, first, step, "eval", episodes)
        write(root, second, step, "eval", episodes if step else episodes[1:])
    write(root, third, 20, "eval", [episode([answer()])])
    return root


def test_scores_before_and_after_are_of_the_first_and_last_step_and_suites_weigh_the_same(sweep):
    table = before_and_after(load_episodes(load_frames(sweep), ["eval"])).set_index("suite")
    assert set(table["trial"]) == {load_frames(sweep).trials["trial"].iloc[0]}  # others asked others, or only once
    assert list(table.index) == ["all suites", "one_hop", "two_hop"]
    one = table.loc["one_hop"]
    assert (one["before"], one["after"], one["change"]) == (0.5, 0.75, 0.25)
    assert (one["gained"], one["lost"], one["questions"]) == (2, 1, 4)
    assert (one["after_low"], one["after_high"]) == pytest.approx(proportion_confint(3, 4, method="wilson"))
    whole = table.loc["all suites"]
    assert (whole["before"], whole["after"]) == pytest.approx(((0.5 + 0) / 2, (0.75 + 0.5) / 2))
    assert whole["change"] == pytest.approx((0.25 + 0.5) / 2)
    assert whole["low"] < whole["change"] < whole["high"]


def test_the_door_prints_every_suite_and_refuses_what_is_no_sweep(sweep, tmp_path):
    command = [sys.executable, "-m", "analysis.progress"]
    whole = [*command, str(sweep), "--csv", str(tmp_path / "whole.csv")]
    told = subprocess.run(whole, capture_output=True, text=True, check=True).stdout
    expected = before_and_after(load_episodes(load_frames(sweep), ["eval"]))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "whole.csv"), expected, check_dtype=False)
    assert "0.500 [0.150, 0.850] → 0.750 [0.301, 0.954]" in told
    wrong = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert (wrong.returncode, "no trials/" in wrong.stderr, "Traceback" in wrong.stderr) == (1, True, False)
