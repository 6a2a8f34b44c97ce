"""The configuration chooses the retriever that a trial searches with."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.operators.operator_settings import SearchR1Settings, WebSearchSettings
from harness.operators.retrieval.http_retrievers import SearchR1Retriever, WebSearchRetriever
from harness.training.trial_data import load_trial_data
from tests.unit.training.test_environment_settings import config


def test_search_over_http_is_chosen_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = config(tmp_path, 'environment.search.retriever={kind: search_r1, url: "http://h/retrieve", form: query}')
    assert isinstance(local.environment.search.retriever, SearchR1Settings)
    assert isinstance(load_trial_data(local).retriever, SearchR1Retriever)
    web = config(tmp_path, 'environment.search.retriever={kind: web, url: "https://h/search", key_variable: MY_SEARCH}')
    assert isinstance(web.environment.search.retriever, WebSearchSettings)
    with pytest.raises(ValueError, match="set MY_SEARCH to the search API's key"):
        load_trial_data(web)
    monkeypatch.setenv("MY_SEARCH", "k")
    assert isinstance(load_trial_data(web).retriever, WebSearchRetriever)
