"""`python -m harness.data prepare`: from a hub on loopback and from local files, interrupted, damaged, repeated."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.tasks.benchmarks import BENCHMARKS, DataFolder, hub
from harness.tasks.benchmarks.cli import main
from harness.tasks.benchmarks.manifest import read_manifest
from tests.support.qa_layouts import (
    COMMIT,
    Hub,
    flashrag_row,
    hub_files,
    own_row,
    passage_row,
    search_r1_row,
    serve,
    write,
)

TRAIN = "train.nq_hotpotqa.jsonl.gz"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "wait_exponential", lambda *_, **__: lambda state: 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # other tests of the session are offline


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Hub]:
    with serve(Hub(hub_files(tmp_path))) as server:
        yield server


def prepare(out: Path, remote: Hub, *more: str) -> int:
    return main(["prepare", "--out", str(out), "--endpoint", remote.endpoint, *more])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return captured.err


# --- from the hub


def test_everything_comes_from_the_hub_into_one_layout(tmp_path: Path, remote: Hub) -> None:
    out = tmp_path / "out"
    assert prepare(out, remote, "--corpus") == 0
    folder = DataFolder(out)
    assert {q.suite for q in folder.split("test")} == set(BENCHMARKS)
    assert len(folder.split("test")) == 35
    assert {q.suite for q in folder.split("train")} == {"nq", "hotpotqa"}
    assert sum(1 for _ in folder.corpus()) == 2000
    entry = read_manifest(out).files["hotpotqa.test.jsonl.gz"]
    assert entry.rows == {"hotpotqa": 5}
    assert entry.licences == {"hotpotqa": "CC BY-SA 4.0"}
    assert (entry.origin.repository, entry.origin.file) == ("RUC-NLPIR/FlashRAG_datasets", "hotpotqa/dev.jsonl")
    assert entry.origin.commit == COMMIT
    assert main(["verify", str(out)]) == 0


def test_training_questions_that_are_test_questions_are_dropped_and_counted(
    tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(tmp_path / "out", remote) == 0
    assert read_manifest(tmp_path / "out").files[TRAIN].dropped == {"text": 1}
    assert "nq_train_99" not in {q.id for q in DataFolder(tmp_path / "out").split("train")}
    assert "dropped as test questions: 1 by text" in capsys.readouterr().out


def test_licences_and_checksums_are_printed(tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path / "out", remote)
    printed = capsys.readouterr().out
    for name, entry in read_manifest(tmp_path / "out").files.items():
        assert f"{entry.sha256}  {name}" in printed
    assert all(f"{b.name}: {b.licence}" in printed for b in BENCHMARKS.values())


def test_a_broken_connection_goes_on_where_it_stopped(tmp_path: Path, remote: Hub) -> None:
    remote.cut = [100, 50]
    assert prepare(tmp_path / "out", remote, "--benchmarks", "nq", "--no-training") == 0
    assert remote.gets("nq/test.jsonl") == [None, "bytes=100-", "bytes=150-"]
    assert len(DataFolder(tmp_path / "out").split("test")) == 5


def test_a_download_given_up_is_taken_up_by_the_next_command(
    tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.cut = [40] * hub.ATTEMPTS
    command = ("--benchmarks", "nq", "--no-training")
    assert prepare(tmp_path / "out", remote, *command) == 1
    assert "to resume: run the command again" in error_of(capsys)
    assert not list((tmp_path / "out").glob("*.gz"))
    assert prepare(tmp_path / "out", remote, *command) == 0
    assert remote.gets("nq/test.jsonl")[-1] == f"bytes={40 * hub.ATTEMPTS}-"


def test_a_second_run_downloads_nothing_and_leaves_verified_files_alone(
    tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prepare(out, remote)
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.glob("*.gz")}
    remote.log.clear()
    capsys.readouterr()
    assert prepare(out, remote) == 0
    assert remote.gets("") == []
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.glob("*.gz")} == before
    assert capsys.readouterr().out.count("verified, kept") == len(before)


def test_a_damaged_output_is_noticed_and_made_again(
    tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prepare(out, remote)
    target = out / "popqa.test.jsonl.gz"
    right = target.read_bytes()
    target.write_bytes(right[:-1] + b"x")
    assert main(["verify", str(out)]) == 1
    assert "popqa.test.jsonl.gz" in error_of(capsys)
    assert prepare(out, remote) == 0
    assert target.read_bytes() == right


def test_a_new_version_upstream_replaces_the_old_one_and_its_half_download(tmp_path: Path, remote: Hub) -> None:
    out = tmp_path / "out"
    name = "RUC-NLPIR/FlashRAG_datasets/nq/test.jsonl"
    remote.cut = [40] * hub.ATTEMPTS
    assert prepare(out, remote, "--benchmarks", "nq", "--no-training") == 1
    remote.files[name] = (json.dumps(flashrag_row(500)) + "\n").encode()
    remote.log.clear()
    assert prepare(out, remote, "--benchmarks", "nq", "--no-training") == 0
    assert remote.gets("nq/test.jsonl") == [None]
    assert [q.id for q in DataFolder(out).split("test")] == ["nq_test_500"]
    assert not list(out.rglob("*.part"))


def test_more_benchmarks_later_are_added_and_the_training_mix_checked_against_them(tmp_path: Path, remote: Hub) -> None:
    out = tmp_path / "out"
    assert prepare(out, remote, "--benchmarks", "popqa") == 0
    assert read_manifest(out).files[TRAIN].dropped == {}
    assert prepare(out, remote, "--benchmarks", "nq") == 0
    assert read_manifest(out).files[TRAIN].dropped == {"text": 1}
    assert set(read_manifest(out).files[TRAIN].inputs) == {"nq.test.jsonl.gz", "popqa.test.jsonl.gz"}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda h: h.files.pop("RUC-NLPIR/FlashRAG_datasets/nq/test.jsonl"), "no such file at this revision"),
        (lambda h: setattr(h, "status", 503), "HTTP 503"),
        (lambda h: setattr(h, "lie_about_sha256", True), "SHA-256"),
        (lambda h: setattr(h, "endpoint", "http://127.0.0.1:9"), "cannot be reached"),
    ],
    ids=["missing", "down", "wrong content", "no network"],
)
def test_what_is_wrong_with_the_hub_is_said_in_one_line(
    tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str], break_it, message: str
) -> None:  # type: ignore[no-untyped-def]
    break_it(remote)
    assert prepare(tmp_path / "out", remote, "--benchmarks", "nq", "--no-training") == 1
    said = error_of(capsys)
    assert message in said
    assert said.count("\n") == 1


def test_a_malformed_upstream_row_is_named_and_what_was_finished_stays(
    tmp_path: Path, remote: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.files["RUC-NLPIR/FlashRAG_datasets/popqa/test.jsonl"] += b'{"id": "x"}\n'
    assert prepare(tmp_path / "out", remote, "--benchmarks", "nq", "popqa") == 1
    assert "popqa/test.jsonl:6: neither" in error_of(capsys)
    assert list(read_manifest(tmp_path / "out").files) == ["nq.test.jsonl.gz"]


def test_the_command_itself_runs_against_a_mirror_named_by_the_environment(tmp_path: Path, remote: Hub) -> None:
    command = [
        sys.executable,
        "-m",
        "harness.data",
        "prepare",
        "--out",
        str(tmp_path / "out"),
        "--benchmarks",
        "musique",
    ]
    online = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    env = {**online, "HF_ENDPOINT": remote.endpoint, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "musique.test.jsonl.gz: 5 questions, CC BY 4.0" in done.stdout


# --- from local files


def local(tmp_path: Path) -> Path:
    """FlashRAG folders, one file of the own layout, Search-R1's Parquet, a corpus."""
    source = tmp_path / "source"
    for i, b in enumerate(BENCHMARKS.values()):
        if b.name != "nq":
            write(source / b.hub_file, [flashrag_row(10 * i + k) for k in range(3)])
    write(source / "nq.test.jsonl.gz", [own_row(n) for n in range(3)])
    write(source / "train.parquet", [search_r1_row(n) for n in range(4)])
    write(source / "corpus.jsonl.gz", [passage_row(n) for n in range(5)])
    return source


def test_local_files_of_mixed_layouts_are_prepared_without_a_network(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["prepare", "--out", str(out), "--from", str(local(tmp_path)), "--corpus"]) == 0
    folder = DataFolder(out)
    assert {q.suite for q in folder.split("test")} == set(BENCHMARKS)
    assert len(folder.split("train")) == 4
    assert folder.split("test", "nq")[1].supporting == ("1",)
    assert str(tmp_path) not in (out / "manifest.json").read_text()


def test_a_corpus_is_counted_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["prepare", "--out", str(out), "--from", str(local(tmp_path)), "--corpus"]) == 0
    entry = read_manifest(out).files["corpus.jsonl.gz"]
    assert entry.rows == {"wikipedia": 5}
    assert entry.sha256 == hub.sha256_of(out / "corpus.jsonl.gz")
    assert main(["verify", str(out)]) == 0
    assert "5 in corpus.jsonl.gz" in capsys.readouterr().out


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def malformed_at_the_end(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content) + b'{"id": "301", "title": "no text"}\n')


@pytest.mark.parametrize(
    ("damage", "message"),
    [(cut, r"corpus\.jsonl\.gz:\d+: the gzip'd file stops in the middle"), (malformed_at_the_end, r":301: `text`")],
)
def test_a_cut_or_malformed_corpus_is_refused_by_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes], message: str
) -> None:
    """The damage lies far behind the first hundred rows."""
    source, out = local(tmp_path), tmp_path / "out"
    path = write(source / "corpus.jsonl.gz", [passage_row(n) for n in range(300)])
    path.write_bytes(damage(path.read_bytes()))
    assert main(["prepare", "--out", str(out), "--from", str(source), "--corpus"]) == 1
    assert re.search(message, error_of(capsys))
    assert "corpus.jsonl.gz" not in read_manifest(out).files
    assert not (out / "corpus.jsonl.gz").exists()


def test_a_corpus_that_was_never_counted_is_not_verified_until_it_is_prepared_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", local(tmp_path)
    command = ["prepare", "--out", str(out), "--from", str(source), "--corpus"]
    main(command)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"]["corpus.jsonl.gz"]["rows"] = {}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", str(out)]) == 1
    assert "never read through: corpus.jsonl.gz" in error_of(capsys)
    assert main(command) == 0
    assert main(["verify", str(out)]) == 0


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    source = local(tmp_path)
    for name in ("one", "two"):
        main(["prepare", "--out", str(tmp_path / name), "--from", str(source)])
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    assert gzip.decompress(one["nq.test.jsonl.gz"]).decode().count("\n") == 3


def test_a_prepared_folder_can_be_prepared_again_from_itself_unchanged(tmp_path: Path) -> None:
    main(["prepare", "--out", str(tmp_path / "one"), "--from", str(local(tmp_path))])
    main(["prepare", "--out", str(tmp_path / "two"), "--from", str(tmp_path / "one")])
    one, two = (read_manifest(tmp_path / n).files for n in ("one", "two"))
    assert {name: e.sha256 for name, e in one.items()} == {name: e.sha256 for name, e in two.items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "--from", "{tmp}/nowhere", "--out", "{tmp}/out"], "no such folder"),
        (["prepare", "--from", "{tmp}", "--out", "{tmp}/out"], "no test or dev file of nq"),
        (["verify", "{tmp}"], "no prepared files"),
    ],
)
def test_wrong_folders_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([a.format(tmp=tmp_path) for a in arguments]) == 1
    assert message in error_of(capsys)


def test_a_damaged_manifest_is_named_with_its_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text('{"files": {"nq.test.jsonl.gz": {"sha256": "short"}}}')
    assert main(["verify", str(tmp_path)]) == 1
    assert "files.nq.test.jsonl.gz.sha256" in error_of(capsys)


def test_leaks_put_into_a_prepared_folder_are_found_by_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", local(tmp_path)
    main(["prepare", "--out", str(out), "--from", str(source)])
    leaking = write(tmp_path / TRAIN, [own_row(50, question="WHO wrote the book number 1?")])
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"][TRAIN] |= {"sha256": hub.sha256_of(leaking), "bytes": leaking.stat().st_size}
    (out / "manifest.json").write_text(json.dumps(manifest))
    leaking.replace(out / TRAIN)
    assert main(["verify", str(out)]) == 1
    assert "nq_dev_50 (nq_dev_1, by text)" in error_of(capsys)


def test_the_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in BENCHMARKS)


@pytest.mark.parametrize("option", ["--revision", "--endpoint"])
def test_options_of_the_hub_are_refused_for_a_folder(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--out", str(tmp_path / "out"), "--from", str(tmp_path), option, "x"])
    assert ended.value.code == 2
    assert f"{option} has no effect: the files come from {tmp_path}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
