"""Which settings a target cannot choose: complete over the schema."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from harness.config import TrialConfig
from harness.config.trust import GOVERNED, PROVIDER_VARIABLES, review, variables_are_keys
from harness.config.yaml_source import Source, read_text

HARMLESS = {
    "profile": "a target's is compared with the names of shipped profiles and never read as a file",
    "data.train_suites": "names, looked up among those of the data",
    "branch.trunk": "a digest, compared with those of the sweep's own trunks",
    "data.curriculum.suites": "names of training suites",
    "policy.start": "an interface and a number, by a pattern",
    "data.eval_suites": "names, looked up among those of the data",
    "environment.pool": "names, looked up in the registry of operators",
    "environment.faults.kinds": "names, looked up among those in the code",
    "environment.stop": "compared with generated text",
    "objective.preset": "a name, looked up in a registry",
    "objective.ratio_unit": "a name, looked up in a registry",
    "objective.reduction": "a name, looked up in a registry",
    "objective.credit.returns": "a name, looked up in a registry",
    "objective.credit.group": "a name, looked up in a registry",
    "objective.credit.scale": "a name, looked up in a registry",
}


def free_texts(section: Any, path: str = "") -> Iterator[str]:
    """Settings that take text other than a closed list of words."""
    origin = get_origin(section)
    if origin is Annotated:
        yield from free_texts(get_args(section)[0], path)
    elif origin in (Union, types.UnionType, tuple, list):
        for part in get_args(section):
            yield from free_texts(part, path)
    elif origin is Literal or section in (type(None), Ellipsis):
        return
    elif section in (str, Any, object):
        yield path
    elif isinstance(section, type) and (issubclass(section, BaseModel) or dataclasses.is_dataclass(section)):
        hints = get_type_hints(section, include_extras=True)
        names = (
            section.model_fields if issubclass(section, BaseModel) else [f.name for f in dataclasses.fields(section)]
        )
        for name in names:
            yield from free_texts(hints[name], f"{path}.{name}".lstrip("."))


def test_every_setting_that_takes_free_text_is_governed_or_known_to_be_harmless() -> None:
    assert set(free_texts(TrialConfig)) == {*GOVERNED, *HARMLESS}


TARGET = "environment: {backend: {kind: openai, base_url: 'http://h', key_variable: OPENAI_API_KEY, model: m}}"


def test_what_stands_in_the_shipped_profile_or_is_the_default_is_no_choice_of_the_target() -> None:
    tree = read_text(Source("target", TARGET))
    problems, _ = review(tree, tree.at.source, read_text(Source("shipped", "{}")), trust=False, training=True)
    assert [p.message.split()[0] for p in problems] == ["environment.backend.base_url"]
    assert review(tree, tree.at.source, read_text(Source("shipped", TARGET)), trust=False, training=True) == ([], [])
    elsewhere = read_text(Source("command line", TARGET))
    assert review(elsewhere, tree.at.source, read_text(Source("shipped", "{}")), trust=False, training=True) == ([], [])


def test_a_local_model_and_an_imported_function_are_choices_and_registered_names_are_not() -> None:
    nothing = read_text(Source("shipped", "{}"))
    own = read_text(Source("target", "objective: {surrogate: 'theirs:run', advantage: group_relative}"))
    problems, _ = review(own, own.at.source, nothing, trust=False, training=True)
    assert [p.message.split()[0] for p in problems] == ["objective.surrogate"]
    assert review(own, own.at.source, nothing, trust=False, training=False) == ([], [])
    local = read_text(Source("target", "environment: {backend: {kind: local, model: attacker/model}}"))
    problems, _ = review(local, local.at.source, nothing, trust=False, training=True)
    assert [p.message.split()[0] for p in problems] == ["environment.backend.model"]


@pytest.mark.parametrize("name", sorted(PROVIDER_VARIABLES))
def test_no_providers_variable_is_taken_for_another_services(name: str) -> None:
    tree = read_text(Source("a.yaml", f"environment: {{backend: {{key_variable: {name}}}}}"))
    assert variables_are_keys(tree) == []


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "PGPASSWORD", "AZURE_CLIENT_ID"]
)
def test_another_services_variable_is_refused_in_a_file_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"environment: {{search: {{retriever: {{key_variable: {name}}}}}}}"
    assert name in variables_are_keys(read_text(Source("a.yaml", text)))[0].message
    assert variables_are_keys(read_text(Source("command line", text))) == []
    monkeypatch.setenv("WORKFLOW_HARNESS_KEY_VARIABLES", f" {name} ,X")
    assert variables_are_keys(read_text(Source("a.yaml", text))) == []
