"""Commands printed as hints can be run as they are."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from harness.paths import checkout
from harness.tracking import default_uri
from harness.tracking.hints import where_mlflow_is

REPOSITORY = checkout()
PAGE = "/#/experiments/1/runs"
THEN = f", then http://127.0.0.1:5000{PAGE}"


@pytest.fixture
def in_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize(
    ("uri", "told"),
    [("sqlite:///runs/mlflow.db", f"make ui{THEN}"),
     (f"sqlite:///{REPOSITORY}/runs/mlflow.db", f"make ui{THEN}"),
     (f"sqlite:///{REPOSITORY}/runs/studies/mlflow.db", f"make ui STORE=sqlite:///runs/studies/mlflow.db{THEN}"),
     ("sqlite:////elsewhere/mlflow.db", f"make ui STORE=sqlite:////elsewhere/mlflow.db{THEN}"),
     ("sqlite:////a b/mlflow.db", f"make ui 'STORE=sqlite:////a b/mlflow.db'{THEN}"),
     ("postgresql://me@host/runs", f"make ui STORE=postgresql://me@host/runs{THEN}"),
     ("http://host:5000", f"http://host:5000{PAGE}"),
     ("https://host/mlflow/", f"https://host/mlflow{PAGE}")],
)  # fmt: skip
def test_the_line_about_mlflow_names_the_command_that_serves_the_store_or_the_server(in_the_repository, uri, told):
    assert where_mlflow_is(uri, PAGE) == told


def test_elsewhere_than_in_the_repository_the_command_finds_its_makefile_and_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{tmp_path}/out/mlflow.db"
    assert where_mlflow_is("sqlite:///out/mlflow.db", "") == (
        f"make -C {REPOSITORY} ui STORE={store}, then http://127.0.0.1:5000"
    )


def test_make_serves_the_store_that_the_line_names(in_the_repository, tmp_path):
    for uri in (default_uri(REPOSITORY / "runs"), default_uri(tmp_path / "with space")):
        command, _, _ = where_mlflow_is(uri, PAGE).partition(", then ")
        make, *words = shlex.split(command)
        done = subprocess.run([make, "-n", *words], capture_output=True, text=True, check=True)
        served = shlex.split(done.stdout.replace("\\\n", " "))
        told = served[served.index("--backend-store-uri") + 1].removeprefix("sqlite:///")
        assert str((REPOSITORY / told).resolve()) == uri.removeprefix("sqlite:///")
