"""Any JSON value at any setting, in a sweep file or on the command line, is accepted or refused at its place."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config import ConfigError, TrialConfig, expand, load_sweep
from harness.config.evaluation import EvaluationSettings, read_settings
from harness.config.sweep_file import SweepFile
from tests.support.examples import examples

SWEEP: dict[str, Any] = {
    "name": "demo",
    "hypothesis": "one thing beats another",
    "profile": "tiny",
    "fixed": {"steps": 3},
    "parameters": {"objective.preset": {"values": ["gsspo", "grpo"]}, "update.learning_rate": {"values": {"low": 0.1}}},
    "seeds": [0],
    "exclude": [{"objective.preset": "none"}],
    "resources": {"cpus_per_trial": 1},
    "analysis": {
        "primary": {"metric": "eval/em", "contrast": ["gsspo", "grpo"], "axis": "objective.preset"},
        "margin": 0.03,
        "alpha": 0.05,
        "requires": [{"kind": "level", "metric": "eval/em", "at_least": 0}],
    },
    "small": {"steps": 1},
}
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 1e308, 10**44, "", "text", "9", "a\nb", "\0", "\ud800", "\u4f4e", [], [1], ["a", 2], [[1]],
    [None], [{}], {}, {"a": 1}, {"kind": "x"}, {"kind": [1]}, {"kind": {"a": 1}}, {"a": {"b": [1]}}, {"a.b": 1},
    {"values": []}, {"values": {}}, {"values": 3}, {"values": [[]]},
]  # fmt: skip


def schema_paths(schema: dict[str, Any], node: dict[str, Any], above: str = "") -> Iterator[str]:
    """Dotted names of every property, those of every member of a union included."""
    for member in [*node.get("anyOf", ()), *node.get("oneOf", ())]:
        yield from schema_paths(schema, member, above)
    if "$ref" in node:
        yield from schema_paths(schema, schema["$defs"][node["$ref"].rpartition("/")[2]], above)
    for name, child in node.get("properties", {}).items():
        yield above + name
        yield from schema_paths(schema, child, f"{above}{name}.")


def paths_of(model: Any) -> list[str]:
    schema = model.model_json_schema()
    return sorted(set(schema_paths(schema, schema)))


def places_in(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*above, key)
        if isinstance(child, dict | list):
            yield from places_in(child, (*above, key))


TRIAL = paths_of(TrialConfig)
OVERRIDES = sorted(
    {*TRIAL, *paths_of(SweepFile), "parameters.steps", "parameters.objective.preset", "nothing", "a.b.c"}
)
PLACES = list(places_in(SWEEP))


def replaced(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    tree = json.loads(json.dumps(SWEEP))
    node = tree
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    return tree


def accepted_or_located(path: Path, tree: Any, overrides: list[str] = []) -> bool:  # noqa: B006
    """Whether the sweep is accepted; a refusal names its place."""
    path.write_text(yaml.safe_dump(tree), encoding="utf-8", errors="surrogatepass")
    try:
        expand(load_sweep(path, overrides), code="c" * 64)
    except ConfigError as error:
        refused = error
    else:
        return True
    assert refused.problems
    assert all(p.at.line >= 1 and p.at.column >= 1 and p.message for p in refused.problems)
    assert refused.render().replace("\n", "").isprintable()
    return False


@pytest.fixture(scope="module")
def sweep_path(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep") / "sweep.yaml"


def test_the_sweep_that_the_fuzz_changes_is_accepted(sweep_path):
    tree = {**SWEEP, "exclude": []}
    assert accepted_or_located(sweep_path, tree)
    assert {"steps", "policy.lora.rank", "environment.backend.http.deadline_s", "engine.max_model_len"} <= set(TRIAL)
    assert not accepted_or_located(sweep_path, tree, ["steps=true"])


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(OVERRIDES), value=st.sampled_from(VALUES))
def test_any_value_of_any_override_is_accepted_or_refused_at_its_place(sweep_path, name, value):
    accepted_or_located(sweep_path, {**SWEEP, "exclude": []}, [f"{name}={json.dumps(value)}"])


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), value=st.sampled_from(VALUES))
def test_any_value_at_any_place_of_a_file_is_accepted_or_refused_at_its_place(sweep_path, place, value):
    accepted_or_located(sweep_path, replaced(place, value))


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(TRIAL), value=st.sampled_from(VALUES))
def test_any_value_of_any_fixed_setting_is_accepted_or_refused_at_its_place(sweep_path, name, value):
    accepted_or_located(sweep_path, {**SWEEP, "exclude": [], "fixed": {name: value}})


@settings(max_examples=examples(60), deadline=None)
@given(name=st.sampled_from(sorted(EvaluationSettings.model_fields)), value=st.sampled_from(VALUES))
def test_any_value_of_an_evaluations_setting_is_accepted_or_refused(name, value):
    with contextlib.suppress(ConfigError):
        read_settings([f"{name}={json.dumps(value)}"])


@pytest.mark.nightly
@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_every_value_at_every_setting_is_accepted_or_refused_at_its_place(sweep_path, value):
    for name in OVERRIDES:
        accepted_or_located(sweep_path, {**SWEEP, "exclude": []}, [f"{name}={json.dumps(value)}"])
    for place, name in itertools.zip_longest(PLACES, TRIAL):
        if place is not None:
            accepted_or_located(sweep_path, replaced(place, value))
        accepted_or_located(sweep_path, {**SWEEP, "exclude": [], "fixed": {name: value}} if name else SWEEP)


@pytest.mark.parametrize(
    "override",
    [
        f"steps={10**44}", f"rollout.group_size={10**44}", f"rollout.prompts_per_step={10**9}", f"threads={10**6}",
        f"data.eval_samples={10**8}", f"environment.max_response_tokens={10**12}", f"environment.max_turns={10**9}",
        f"eval_every={10**44}", f"seeds={10**44}", f"resources.workers={10**9}",
        f"policy.lora={{rank: {10**9}, alpha: 1}}", f"environment.search.top_k={10**9}", "steps=1000000",
    ],
)  # fmt: skip
def test_a_size_that_no_machine_has_is_refused_when_the_file_is_read(sweep_path, override):
    sweep_path.write_text(yaml.safe_dump({k: SWEEP[k] for k in ("name", "hypothesis", "profile", "seeds")}))
    with pytest.raises(ConfigError, match=r"must be at most|most: 5000"):
        load_sweep(sweep_path, [override])


def test_an_empty_list_of_values_is_refused_in_words(sweep_path):
    sweep_path.write_text("name: a\nhypothesis: h\nprofile: tiny\nparameters:\n  steps: {values: []}\nseeds: 1\n")
    with pytest.raises(
        ConfigError, match=r":5:19: parameters\.steps\.values: needs at least one value\n.*\n.*\n1 problem"
    ):
        load_sweep(sweep_path)


def test_merge_keys_are_refused_by_name(sweep_path):
    sweep_path.write_text("name: a\nhypothesis: h\nprofile: tiny\nfixed: &f {steps: 1}\nsmall: {<<: *f}\nseeds: 1\n")
    with pytest.raises(ConfigError, match=r":5:9: merge keys \(<<\) are not supported") as caught:
        load_sweep(sweep_path)
    assert len(caught.value.problems) == 1
    sweep_path.write_text('name: a\nhypothesis: "<<"\nprofile: tiny\nseeds: 1\n')
    assert load_sweep(sweep_path).file.hypothesis == "<<"


@pytest.mark.parametrize("suite", ["a/b", "a b", "\u4f4e", "", "_a", "a" * 65, "a$"])
def test_a_suite_whose_metrics_no_store_could_name_is_refused_at_its_place(sweep_path, suite):
    tree = {k: SWEEP[k] for k in ("name", "hypothesis", "profile", "seeds")}
    text = yaml.safe_dump(tree) + f"fixed:\n  data: {{source: task, path: x.py, eval_suites: [{json.dumps(suite)}]}}\n"
    sweep_path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(sweep_path)
    line = text.count("\n")
    assert any(p.at.line == line and "data.eval_suites.0 must match" in p.message for p in caught.value.problems)
