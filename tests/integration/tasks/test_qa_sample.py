"""The real sample of the seven benchmarks, where it is at hand (HARNESS_QA_DIR, or ../shared/data/qa)."""

import os
from collections import Counter
from pathlib import Path

import pytest

from harness.protocol.scoring import normalize_answer
from harness.tasks.benchmarks import BENCHMARKS, DataFolder, find_leaks, load_questions, subset
from harness.tasks.benchmarks.cli import main

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = Path(os.environ.get("HARNESS_QA_DIR", ROOT.parent / "shared" / "data" / "qa"))

pytestmark = pytest.mark.skipif(
    not (SAMPLE / "nq.test.jsonl.gz").is_file(),
    reason="no sample of the benchmarks: set HARNESS_QA_DIR to a folder with nq.test.jsonl.gz and the others",
)


@pytest.fixture(scope="module")
def folder() -> DataFolder:
    return DataFolder(SAMPLE)


def test_all_seven_benchmarks_are_read_with_their_hops(folder: DataFolder) -> None:
    size = Counter(q.suite for q in folder.split("test"))
    assert set(size) == set(BENCHMARKS)
    assert size.total() == 1563
    for benchmark in BENCHMARKS.values():
        hops = {q.hops for q in folder.split("test", benchmark.name)}
        assert hops == {benchmark.hops} if benchmark.hops is not None else hops - {None} == {2, 4} or {2, 3, 4} <= hops


def test_annotated_questions_have_their_answers_in_the_supporting_passages(folder: DataFolder) -> None:
    passages = {p.id: normalize_answer(f"{p.title} {p.text}") for p in folder.corpus()}
    assert len(passages) == 39500
    for suite, floor in {"nq": 0.95, "hotpotqa": 0.9, "musique": 0.95, "2wikimultihopqa": 0.95}.items():
        asked = [q for q in folder.split("test", suite) if q.supporting and q.answers[0].lower() not in ("yes", "no")]
        found = sum(any(normalize_answer(a) in passages[p] for a in q.answers for p in q.supporting) for q in asked)
        assert len(asked) > 50
        assert found / len(asked) > floor


def test_no_training_question_is_a_test_question(folder: DataFolder) -> None:
    assert find_leaks(folder.split("train"), folder.split("test")) == ()


def test_a_planted_leak_is_found_among_real_questions(folder: DataFolder) -> None:
    test = folder.split("test")
    (leak,) = find_leaks([test[100]], test[:50] + test[101:] + (test[100],))
    assert leak.kind == "id"


def test_a_fixed_subset_is_the_same_for_every_caller(folder: DataFolder) -> None:
    again = load_questions(SAMPLE / "popqa.test.jsonl.gz")
    assert [q.id for q in subset(folder.split("test", "popqa"), 40)] == [q.id for q in subset(again[::-1], 40)]


def test_the_sample_can_be_prepared(tmp_path: Path) -> None:
    assert main(["prepare", "--from", str(SAMPLE), "--out", str(tmp_path)]) == 0
    assert len(DataFolder(tmp_path).split("train")) == 2000
