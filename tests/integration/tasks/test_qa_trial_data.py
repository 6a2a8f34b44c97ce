"""What a trial over a folder of files takes of its corpus: as much as it needs, and none where a service searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ask import main as ask
from harness.config import TrialConfig, load_trial
from harness.evaluate import main as evaluate
from harness.operators.retrieval.http_retrievers import SearchR1Retriever
from harness.tasks.benchmarks import DataError
from harness.training import factory
from tests.support.qa_layouts import own_row, passage_row, write

SERVICE = "environment.search.retriever={kind: search_r1, url: 'http://127.0.0.1:9/retrieve'}"
WARM = ("policy.warm_start=imitation", "policy.warm_start_episodes=4")
TRAIN = "train.nq_hotpotqa.jsonl.gz"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Questions of NQ, each with the title of a page; no corpus yet."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # the cache of indexes
    made = tmp_path / "qa"
    write(made / TRAIN, [own_row(n) for n in range(10, 14)])
    write(made / "nq.test.jsonl.gz", [own_row(n) for n in range(3)])
    return made


def config(folder: Path, *overrides: str) -> TrialConfig:
    files = ["data.source=files", f"data.path={folder}", "data.train_suites=[nq]", "data.eval_suites=[nq]"]
    return load_trial("tiny", [*files, *overrides])


def test_where_a_service_searches_no_corpus_is_demanded_or_read(folder: Path) -> None:
    with pytest.raises(DataError, match="no corpus file"):
        factory.data(config(folder))
    for overrides in ([SERVICE], [SERVICE, *WARM]):
        made = factory.data(config(folder, *overrides))
        assert isinstance(made.retriever, SearchR1Retriever)
        assert (len(made.train), len(made.evaluation["nq"])) == (4, 3)
    (folder / "corpus.jsonl.gz").write_bytes(b"not gzip at all")
    assert factory.data(config(folder, SERVICE)).titles == {}


def test_a_warm_start_gets_the_titles_of_supporting_passages_and_nobody_else_does(folder: Path) -> None:
    write(folder / "corpus.jsonl.gz", [passage_row(n) for n in range(2, 13)])
    for retriever in ([], [SERVICE]):
        made = factory.data(config(folder, *retriever, *WARM))
        assert [q.supporting for q in made.train] == [("10",), ("11",), ("12",), ()]  # page 13 is not there
        assert made.titles == {str(n): f"Book {n}" for n in (2, 10, 11, 12)}
        assert all(key in made.titles for q in made.train for key in q.supporting)
    assert factory.data(config(folder)).titles == {}


def test_faults_get_titles_to_search_for_few_of_a_large_corpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "corpus.jsonl.gz", [passage_row(n) for n in range(10)])
    faults = "environment.faults={kinds: [wrong_passage], positions: null, train_rate: 0.5, eval_rate: 0.0}"
    assert factory.data(config(folder)).decoys == ()
    assert list(factory.data(config(folder, faults)).decoys) == [f"Book {n}" for n in range(10)]
    assert len(factory.data(config(folder, faults, SERVICE)).decoys) == 10
    monkeypatch.setattr(factory, "DECOYS", 3)
    assert list(factory.data(config(folder, faults)).decoys) == ["Book 0", "Book 4", "Book 8"]
    (folder / "corpus.jsonl.gz").unlink()
    with pytest.raises(DataError, match="no corpus file"):
        factory.data(config(folder, faults, SERVICE))
    timeouts = faults.replace("wrong_passage", "timeout")
    assert factory.data(config(folder, timeouts, SERVICE)).decoys == ()


def test_a_second_trial_finds_the_index_of_the_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "corpus.jsonl.gz", [passage_row(n) for n in range(10)])
    factory.data(config(folder))
    assert "index: 10 passages" in capsys.readouterr().err
    factory.data(config(folder))
    assert capsys.readouterr().err.endswith("reused\n")


def test_an_evaluation_needs_no_training_questions_and_a_training_does(folder: Path) -> None:
    write(folder / "corpus.jsonl.gz", [passage_row(n) for n in range(10)])
    assert len(factory.data(config(folder), training=False).train) == 4  # those that are there can be asked
    (folder / TRAIN).unlink()
    assert factory.data(config(folder), training=False).train == ()
    for wanted in (config(folder), config(folder, *WARM)):  # a warm start trains, whoever asks for the data
        with pytest.raises(DataError, match="no questions of nq/train"):
            factory.data(wanted, training=wanted.policy.warm_start == "none")


def test_a_folder_of_test_questions_can_be_evaluated_and_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "corpus.jsonl.gz", [passage_row(n) for n in range(10)])
    (folder / TRAIN).unlink()
    settings = ["data.source=files", f"data.path={folder}", "data.eval_suites=[nq]", "data.train_suites=[nq]"]
    settings += ["data.eval_samples=0", "data.eval_questions=3", "environment.pool=search_only"]
    assert evaluate(["tiny", *settings, "--out", str(folder / "out")]) == 0
    assert ask(["who wrote book number 1", *settings]) == 0
    assert "Author 1" in capsys.readouterr().out


def test_a_question_longer_than_any_context_is_named_before_it_is_played(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "corpus.jsonl.gz", [passage_row(0)])
    write(folder / "nq.test.jsonl.gz", [own_row(0), own_row(1, question="capital of France? " * 3000)])
    settings = ["data.source=files", f"data.path={folder}", "data.eval_suites=[nq]", "data.train_suites=[nq]"]
    assert evaluate(["tiny", *settings, "data.eval_samples=0", "--out", str(folder / "out")]) == 1
    assert "nq_dev_1" in capsys.readouterr().err


def test_a_question_that_is_not_unicode_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["smile \udc9f"], ["who?", "--gold", "\udc9f"]):
        with pytest.raises(SystemExit):
            ask(words)
        assert "Unicode" in capsys.readouterr().err
