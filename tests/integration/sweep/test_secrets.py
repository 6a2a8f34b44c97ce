"""Secrets in the environment or in a sweep file are in nothing that a sweep writes or prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.config import ConfigError, load_sweep
from harness.runs.episode_store import read_episodes
from harness.types.redact import HIDDEN, RedactedStream, is_secret, redact, redact_settings, variables_in
from tests.support.sweep_runner import SWEEP

ROOT = Path(__file__).parents[3]
PLANTED = {
    "PLANTED_API_KEY": "sk-planted-5f1e0c77",
    "MLFLOW_TRACKING_PASSWORD": "hunter2-planted",
    "THE_DOOR": "open-sesame-planted",  # a secret only because the configuration names it as its key's variable
    "AWS_SECRET_ACCESS_KEY": "aws-planted-7c1d",  # Tune would hand it on in what Ray writes to its logs
    "MLFLOW_TRACKING_USERNAME": "somebody",
}
SECRETS = [value for name, value in PLANTED.items() if name != "MLFLOW_TRACKING_USERNAME"]
ENDPOINT = "environment.backend={kind: openai, base_url: 'http://127.0.0.1:9/v1', model: m, key_variable: THE_DOOR}"
DRIVER = """
import sys
from pathlib import Path
from tests.support.sweep_runner import Runner
runner = Runner(Path(sys.argv[1]))
status = runner("blurts", *sys.argv[2:])
print(runner.printed)
sys.exit(status)
"""


def places(folder: Path, secret: str) -> list[str]:
    """Files under `folder` that hold `secret`; Parquet is read, for it is compressed."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += repr(read_episodes(path)).encode()
            if secret.encode() in content or secret in path.name:
                found.append(str(path.relative_to(folder)))
    return found


@pytest.mark.timeout(300)
def test_no_planted_secret_is_in_what_a_sweep_leaves_or_prints(tmp_path, request):
    ray = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # Ray's sockets need a short path
    request.addfinalizer(lambda: shutil.rmtree(ray, ignore_errors=True))
    environment = {**os.environ, **PLANTED, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(ray)}
    arguments = [str(tmp_path / "home"), ENDPOINT, "seeds=[0]"]
    (tmp_path / "home").mkdir()
    done = subprocess.run([sys.executable, "-c", DRIVER, *arguments], cwd=ROOT, env=environment, capture_output=True,
                          text=True, timeout=280)  # fmt: skip
    home = tmp_path / "home"
    assert done.returncode == 1, done.stderr[-3000:]
    assert "2 of 3 trials finished, 1 failed" in done.stdout
    assert f"gspo_seed0: RuntimeError: no answer from {HIDDEN} with {HIDDEN}" in done.stdout
    [failed] = (home / "runs" / "demo" / "trials").glob("gspo_*")
    output = (failed / "output.log").read_text()
    assert output.count(f"asked http://user:{HIDDEN}@localhost/ with {HIDDEN} and {HIDDEN}") >= 2 * 5  # two attempts
    assert "The above exception was the direct cause" in output
    for secret in SECRETS:
        assert places(home, secret) == []
        assert secret not in done.stdout + done.stderr
    assert places(home, "no answer from") != []  # the search finds what is there, in MLflow's store too
    assert any(place.endswith("mlflow.db") for place in places(home, "no answer from"))
    assert [places(ray, secret) for secret in SECRETS] == [[]] * len(SECRETS)  # Ray's own logs
    assert places(ray, "PL_DISABLE_FORK") != []  # what Tune hands on does stand there


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("seeds: 2", "seeds: 2\ntracking: {uri: 'http://me:hunter2-planted@host:5000'}", "must hold no password"),
     ("seeds: 2", "seeds: 2\ntracking: {uri: 'postgresql://me:hunter2-planted@host/db'}", "must hold no password"),
     ("seeds: 2", "seeds: 2\ntracking: {uri: 'https://hunter2-planted@host:5000'}", "must hold no password"),
     ("seeds: 2", "seeds: 2\ntracking: {uri: 'https://host:5000/?api_key=hunter2-planted'}", "must hold no password"),
     ("steps: 4", "steps: 4, environment.backend: {kind: local, model: m, api_key: hunter2-planted}",
      "unknown key"),
     ("steps: 4", "steps: 4, environment.search.retriever: {kind: web, url: 'http://h', key_variable: hunter2-planted}",
      "must be the name of an environment variable"),
     ("steps: 4", "steps: 4, environment.search.retriever: {kind: web, url: 'https://h/s?api_key=hunter2-planted'}",
      "must hold no key"),
     ("steps: 4", "steps: 4, environment.search.retriever: {kind: web, url: 'https://me:hunter2-planted@h/s'}",
      "must hold no user or password")],
)  # fmt: skip
def test_a_secret_in_a_sweep_file_is_refused_without_being_shown(tmp_path, old, new, message):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert message in str(caught.value)
    assert "hunter2-planted" not in str(caught.value)


def test_a_password_on_the_command_line_is_refused_without_being_shown(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, ["tracking.uri=http://me:hunter2-planted@host"])
    assert "hunter2-planted" not in str(caught.value)


def test_the_value_of_a_secret_variable_is_refused_wherever_it_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED_API_KEY_2", "sk-planted-5f1e0c77")
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP + "# a comment is not kept: sk-planted-5f1e0c77\n")
    assert load_sweep(path)
    path.write_text(SWEEP.replace("hypothesis: ", "hypothesis: with sk-planted-5f1e0c77, "))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, ["environment.backend={kind: openai, base_url: 'http://h/v1', model: sk-planted-5f1e0c77}"])
    assert str(caught.value).count("holds the value of $PLANTED_API_KEY_2") == 2
    assert "sk-planted" not in str(caught.value)


def test_a_database_s_user_is_no_secret(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP)
    uri = "postgresql://me@host/db"
    assert load_sweep(path, [f"tracking.uri={uri}"]).file.tracking.uri == uri


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "OPENAI_API_KEY_2", "KEY1", "GITHUB_PAT", "HF_TOKEN", "db_password"]
)
def test_names_of_secrets_are_known(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PATH", "MAX_TOKENS", "KEYBOARD", "PWD", "TOKENIZERS_PARALLELISM", "COMPAT"])
def test_names_of_other_things_are_not(name):
    assert not is_secret(name)


def test_words_that_only_look_like_secrets_stay(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "parallel")
    monkeypatch.setenv("EMPTY_API_KEY", "")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    line = f"parallel abc in {os.environ.get('PWD', '')}: http://host:80/a@b"
    assert redact(line) == line
    for written in ("max_turn_tokens: 80", "key_variable: OPENAI_API_KEY", "tokens_per_microbatch=4096", "key: a"):
        assert redact_settings(written) == written
    assert redact_settings("{token: 'a b', x: 1}") == f"{{token: {HIDDEN}, x: 1}}"


def test_a_longer_secret_goes_before_one_that_it_holds(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "abcdef")
    monkeypatch.setenv("B_TOKEN", "abcdef-ghi")
    assert redact("abcdef-ghi abcdef") == f"{HIDDEN} {HIDDEN}"


def test_a_secret_written_in_pieces_is_struck_out_of_its_line(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "abcdef")
    with (tmp_path / "out").open("w") as file:
        stream = RedactedStream(file)
        for piece in ("x abc", "def y\nab", "c", "def"):
            stream.write(piece)
        stream.flush()
    assert (tmp_path / "out").read_text() == f"x {HIDDEN} y\n{HIDDEN}"


def test_variables_are_found_however_deep():
    assert variables_in({"a": [{"key_variable": "X"}], "key_variable": "Y", "b": {"c": {"key_variable": None}}}) == {
        "X",
        "Y",
    }
