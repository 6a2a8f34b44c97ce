"""On a cluster a path must mean the same on every node."""

from __future__ import annotations

import pytest

from harness.sweep.cluster import ResourceError, paths_are_absolute

ENDPOINT = "environment.backend={{kind: openai, base_url: 'http://127.0.0.1:9/v1', model: m, cache: {cache}}}"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("environment.backend={kind: local, model: here}", "environment.backend.model is 'here'"),
        (ENDPOINT.format(cache="answers.db"), "environment.backend.cache is 'answers.db'"),  # it need not exist
    ],
)
def test_a_relative_path_is_refused_with_what_to_write(runner, tmp_path, monkeypatch, setting, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    spec = runner.spec(setting)
    with pytest.raises(ResourceError) as caught:
        paths_are_absolute(config for _, config in spec.cells)
    assert f"{named}: on a cluster use the absolute path, {tmp_path}" in str(caught.value)


@pytest.mark.parametrize(
    "setting", ["environment.backend={kind: local, model: org/name}", ENDPOINT.format(cache="/shared/answers.db")]
)
def test_a_hub_s_name_and_a_full_path_are_the_same_everywhere(runner, tmp_path, monkeypatch, setting):
    monkeypatch.chdir(tmp_path)
    paths_are_absolute(config for _, config in runner.spec(setting).cells)
