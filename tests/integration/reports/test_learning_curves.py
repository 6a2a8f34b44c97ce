"""The learning-curve figure: right numbers, honest axes, same bytes."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.figure_style import themed_svg
from reports.figures import learning_curves
from reports.write_report import write_learning_curves
from tests.support.synthetic_sweep import made_frames, write_sweep


def test_two_builds_give_the_same_bytes(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames(steps=(0, 5, 10)))
    first, second = (write_learning_curves(root, tmp_path / name) for name in ("a", "b"))
    assert {p.suffix for p in first} == {".svg", ".pdf", ".png", ".csv", ".txt"}
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_the_csv_behind_the_figure_holds_the_seed_means(tmp_path):
    frames = made_frames(steps=(0, 5, 10))
    paths = write_learning_curves(write_sweep(tmp_path / "s", frames), tmp_path / "out")
    table = pd.read_csv(next(p for p in paths if p.suffix == ".csv"))
    row = table.query("suite == 'one_hop' and arm == 'gspo' and step == 10").iloc[0]
    values = frames.values("eval/em/one_hop", 10).query("arm == 'gspo'")["value"]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["seeds"] == 5
    assert row["low"] < row["mean"] < row["high"]


def test_a_step_that_one_seed_lacks_is_not_averaged_over_the_others():
    frames = made_frames(steps=(0, 5, 10))
    metrics = frames.metrics.query("not (trial == 'grpo_seed1' and step == 5)")
    data = learning_curves.curve_data(type(frames)(**{**frames.__dict__, "metrics": metrics}), "eval/em")
    assert set(data.query("arm == 'grpo'")["step"]) == {0, 10}
    assert set(data.query("arm == 'gspo'")["step"]) == {0, 5, 10}


def test_the_axis_starts_at_zero_and_never_passes_one():
    canvas = learning_curves.draw_learning_curves(made_frames({"grpo": 0.70, "gsspo": 0.75})).canvas
    assert canvas.axes[0].get_ylim()[0] == 0
    assert canvas.axes[0].get_ylim()[1] <= 1


def test_the_caption_gives_seeds_questions_interval_and_hash():
    frames = made_frames()
    text = str(learning_curves.draw_learning_curves(frames).caption)
    for part in ("5 per arm", "questions:", "95% t interval", frames.config_hash):
        assert part in text


def test_one_seed_draws_curves_without_a_band():
    figure = learning_curves.draw_learning_curves(made_frames(seeds=(0,)))
    assert "none shown" in str(figure.caption)
    assert figure.data["low"].isna().all()


def test_an_inlined_figure_takes_the_pages_colours():
    svg = themed_svg(learning_curves.draw_learning_curves(made_frames(steps=(0, 5))))
    assert "var(--ink)" in svg
    assert "#1b1b1f" not in svg
    assert "<?xml" not in svg


def test_a_metric_that_was_never_logged_is_an_error():
    with pytest.raises(ValueError, match="never logged"):
        learning_curves.draw_learning_curves(made_frames(), "eval/nothing")
