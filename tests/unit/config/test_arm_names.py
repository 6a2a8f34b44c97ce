"""Labels of arms and names of trials: unique and short for any names that a sweep file accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError, expand, load_sweep
from harness.config.arm_names import (
    LABEL_CHARS,
    arm_labels,
    columns_of,
    cut_text,
    settings_key,
    slug,
    trial_names,
)
from harness.config.name_checks import name_fault
from tests.support.examples import examples

names = st.text(min_size=1, max_size=200).filter(lambda text: name_fault(text) is None)
values = st.one_of(names, st.integers(-5, 5), st.floats(0, 1), st.booleans(), st.none(), st.lists(names, max_size=2))


@st.composite
def grids(draw: st.DrawFn) -> list[dict[str, object]]:
    axes = draw(st.lists(st.sampled_from(["objective.preset", "reward.x", "data.x", "steps"]), min_size=1, unique=True))
    cell = st.fixed_dictionaries(dict.fromkeys(axes, values))
    return draw(st.lists(cell, min_size=1, max_size=12, unique_by=settings_key))


@settings(max_examples=examples(60), deadline=None)
@given(grids())
def test_labels_are_unique_short_and_printable(arms):
    labels = arm_labels(arms)
    assert len(set(labels)) == len(arms)
    assert all(columns_of(label) <= LABEL_CHARS for label in labels)
    assert all(label.isprintable() and label.strip() for label in labels)
    assert arm_labels(arms + arms) == labels * 2


@settings(max_examples=examples(40), deadline=None)
@given(grids())
def test_trials_of_different_arms_have_different_names_that_any_file_system_takes(arms):
    found = trial_names([(arm, seed) for arm in arms for seed in (0, 1)], {axis: axis for arm in arms for axis in arm})
    assert len(set(found)) == 2 * len(arms)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,80}", name) for name in found)


def test_names_that_differ_only_in_how_they_are_joined_stay_apart():
    cells = [({"a": "x_y", "b": "z"}, 0), ({"a": "x", "b": "y_z"}, 0)]
    assert len(set(trial_names(cells, {"a": "a", "b": "b"}))) == 2


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([{"objective.preset": "gsspo"}, {"objective.preset": "grpo"}], ["gsspo", "grpo"]),
        ([{"p.preset": "gsspo", "r.pool": "full"}], ["preset=gsspo, pool=full"]),
        (
            [{"o.unit": "token", "o.reduction": "N1", "o.clip": "matched", "o.on": flag} for flag in (True, False)],
            ["token, N1, matched, on=yes", "token, N1, matched, on=no"],
        ),
        ([{"lr": 0.1234567}, {"lr": 0.1234568}], ["#1 0.123457", "#2 0.123457"]),
        ([{"x": 1}, {"x": "1"}, {"x": True}, {"x": "yes"}], ["x=1", "1", "x=yes", "yes"]),
        ([{}], ["all"]),
        ([{"x": "a" * 200}, {"x": "b" * 200}], ["a" * 18 + "…" + "a" * 9, "b" * 18 + "…" + "b" * 9]),
        ([{"x": "低"}, {"x": "高"}], ["低", "高"]),
    ],
)  # fmt: skip
def test_a_label_is_the_value_then_values_then_cut_values(arms, expected):
    assert arm_labels(arms) == expected


def test_a_given_label_wins_and_others_stay_apart_from_it():
    arms = [{"preset": "gsspo", "pool": "full"}, {"preset": "grpo", "pool": "full"}]
    assert arm_labels(arms, {"ours": {"preset": "gsspo"}}) == ["ours", "preset=grpo, pool=full"]
    assert arm_labels([{"x": "a"}, {"x": "b"}], {"b": {"x": "a"}}) == ["b", "#1 b"]


@settings(max_examples=examples(100))
@given(st.text(max_size=60), st.integers(5, 40))
def test_a_cut_text_fits_and_keeps_both_ends(text, width):
    cut = cut_text(text, width)
    assert columns_of(cut) <= max(width, 0) or columns_of(text) <= width
    assert cut == text or "…" in cut


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gsspo", "gsspo"), ("a.b-c_d", "a.b-c_d"), ("é", r"e-[0-9a-f]{8}"), ("低", r"[0-9a-f]{8}"),
        ("a/b", r"a-b-[0-9a-f]{8}"), ("..", r"[0-9a-f]{8}"), ("x" * 200, r"x{48}-[0-9a-f]{8}"), ("-", r"[0-9a-f]{8}"),
    ],
)  # fmt: skip
def test_a_slug_keeps_ascii_and_marks_what_it_lost(text, expected):
    assert re.fullmatch(expected, slug(text))


SWEEP = """\
name: named
hypothesis: h
profile: tiny
parameters:
  reward.format_penalty: {{values: {values}}}
  objective.preset: {{values: [gsspo, grpo]}}
seeds: 2
labels: {labels}
"""


def write_sweep_file(tmp_path: Path, values: str, labels: str = "{}") -> Path:
    path = tmp_path / "named.yaml"
    path.write_text(SWEEP.format(values=values, labels=labels), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "values",
    [
        '{"a$x^$b": 0.1, "c": 0.5}',
        "{低: 0.1, 高: 0.5}",
        f"{{{'x' * 200}: 0.1, {'y' * 200}: 0.5}}",
        '{"a/b": 0.1, "a:b": 0.5, "a b": 0.7, "a-b": 0.9}',
        '{"_a": 0.1, "[a](b)": 0.5, "<b>": 0.7, "=1+1": 0.9}',
    ],
    ids=["dollar", "unicode", "long", "equal after slugging", "specials"],
)
def test_trials_of_a_sweep_with_any_accepted_names_have_names_and_folders_of_their_own(tmp_path, values):
    trials = expand(load_sweep(write_sweep_file(tmp_path, values)), code="c" * 64)
    assert len({t.name for t in trials}) == len({t.directory for t in trials}) == len(trials)
    assert len({t.arm for t in trials}) == len(trials) / 2
    assert all(t.directory.isascii() and len(t.directory) < 100 for t in trials)


@pytest.mark.parametrize(
    "pair",
    [("\u00e9", "e\u0301"), ("a", "a\ufe0f"), ("a", "a\u034f"), ("a\u3164", "a"), ("\u2126", "\u03a9")],
)  # fmt: skip
def test_values_that_look_the_same_are_refused_at_their_place(tmp_path, pair):
    given = "{" + ", ".join(f'"{name}": {0.1 * n}' for n, name in enumerate(pair, 1)) + "}"
    with pytest.raises(ConfigError, match=r"named.yaml:5:.*has two values that look the same"):
        load_sweep(write_sweep_file(tmp_path, given))


@pytest.mark.parametrize("name", ["\u3164", "\u2800", "\ufe0f", "\u115f\u1160"])
def test_a_name_without_a_visible_character_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"named.yaml:5:.*has no visible character"):
        load_sweep(write_sweep_file(tmp_path, f'{{"{name}": 0.1}}'))


def test_names_of_earlier_sweeps_are_as_they_were(tmp_path):
    trials = expand(load_sweep(write_sweep_file(tmp_path, "[0.1, 0.5]")), code="c" * 64)
    assert trials[0].name == "format_penalty-0.1_gsspo_seed0"


def test_labels_of_the_file_name_arms(tmp_path):
    labels = "{ours: {objective.preset: gsspo, reward.format_penalty: low}}"
    trials = expand(load_sweep(write_sweep_file(tmp_path, "{low: 0.1}", labels)), code="c" * 64)
    assert [t.arm for t in trials] == ["ours", "grpo"] * 2  # the penalty has one value and identifies nothing


@pytest.mark.parametrize(
    ("labels", "place", "message"),
    [
        ("{ours: {objective.preset: gsspo}}", "8:10", "the label 'ours' stands for 2 arms, not one"),
        ("{ours: {objective.preset: dapo}}", "8:10", "the label 'ours' stands for 0 arms, not one"),
        ("{ours: {objective.prest: gsspo}}", "8:17", "the label names 'objective.prest', which is not swept"),
        (f"{{{'o' * 29}: {{objective.preset: gsspo}}}}", "8:10", "a label of 29 columns; the longest is 28"),
        ("{ours: 3}", "8:16", "labels.ours must be a mapping"),
        (
            "{a: {objective.preset: gsspo, reward.format_penalty: low}, b: {objective.preset: gsspo, "
            "reward.format_penalty: low}}", "8:68", "'b' is a second label of the arm 'a'",
        ),
        (
            "{\u00e9: {objective.preset: gsspo, reward.format_penalty: low}, e\u0301: {objective.preset: grpo, "
            "reward.format_penalty: low}}", "8:68", "'e\u0301' looks the same as the label before, '\u00e9'",
        ),
    ],
)  # fmt: skip
def test_a_label_that_names_no_single_arm_is_refused_at_its_place(tmp_path, labels, place, message):
    path = write_sweep_file(tmp_path, "{low: 0.1, high: 0.5}", labels)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert any(str(p.at).endswith(place) and message in p.message for p in caught.value.problems), caught.value
