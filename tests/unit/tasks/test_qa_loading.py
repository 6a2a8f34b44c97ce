"""Reading questions and passages: every layout, every way a file can be broken, fixed subsets."""

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.benchmarks import DataError, DataFolder, iter_corpus, load_corpus, load_questions, subset
from harness.tasks.benchmarks.catalog import BENCHMARKS, OWN_NAME, benchmark_name, hops_of
from harness.types import Question
from tests.support.qa_layouts import flashrag_row, jsonl, own_row, passage_row, search_r1_row, write

SUFFIXES = ["jsonl", "jsonl.gz", "parquet"]


# --- layouts


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_projects_own_layout_is_read(tmp_path: Path, suffix: str) -> None:
    (question,) = load_questions(write(tmp_path / f"nq.test.{suffix}", [own_row(7)]))
    assert question == Question("nq_dev_7", "who wrote book number 7", ("Author 7", "A. 7"), "nq", hops=1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flashrag_rows_take_their_benchmark_from_the_path(tmp_path: Path, suffix: str) -> None:
    row = flashrag_row(7, metadata={"type": "bridge_comparison"})
    for path in (tmp_path / "2wikimultihopqa" / f"dev.{suffix}", tmp_path / f"2wiki.dev.{suffix}"):
        (question,) = load_questions(write(path, [row]))
        assert (question.id, question.suite, question.hops) == ("2wikimultihopqa_test_7", "2wikimultihopqa", 4)
        assert question.answers == ("town 7",)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_search_r1_rows_hold_their_question_in_the_prompt(tmp_path: Path, suffix: str) -> None:
    (question,) = load_questions(write(tmp_path / f"train.{suffix}", [search_r1_row(7)]))
    assert question.text == "how high is mountain number 7?"
    assert (question.id, question.suite, question.answers) == ("nq_train_7", "nq", ("7 metres",))


def test_search_r1_rows_that_kept_flashrags_columns_use_them(tmp_path: Path) -> None:
    row = search_r1_row(7, id="train_7", question="how high?", golden_answers=["x"])
    row["reward_model"]["ground_truth"]["target"] = "7 m"  # a bare string is one answer
    (question,) = load_questions(write(tmp_path / "train.jsonl", [row]))
    assert (question.id, question.text, question.answers) == ("nq_train_7", "how high?", ("7 m",))


def test_a_file_of_several_benchmarks_keeps_them_apart(tmp_path: Path) -> None:
    rows = [search_r1_row(1), search_r1_row(1, data_source="searchR1_hotpotqa")]
    assert [q.suite for q in load_questions(write(tmp_path / "train.parquet", rows))] == ["nq", "hotpotqa"]


@given(st.from_regex(OWN_NAME, fullmatch=True))
def test_questions_of_ones_own_have_any_name_and_no_known_hops(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("own")
    expected = benchmark_name(name) or name
    row = {"id": "1", "question": "Who?", "golden_answers": ["A"]}
    try:
        own = write(folder / "own.jsonl", [own_row(benchmark=name, hops=None)])
        named = [write(folder / f"{name}.test.jsonl", [row]), write(folder / name / "dev.jsonl", [row])]
    except OSError:
        return  # a name that this disk does not take
    assert [load_questions(path)[0].suite for path in (own, *named)] == [expected] * 3
    assert load_questions(own)[0].hops is None
    if benchmark_name(name) is None:
        assert [load_questions(path)[0].hops for path in named] == [None] * 2


def test_a_folder_of_test_questions_alone_is_read(tmp_path: Path) -> None:
    write(tmp_path / "mine.test.jsonl", [{"id": "1", "question": "Who?", "golden_answers": ["A"]}])
    (question,) = DataFolder(tmp_path).split("test", "mine")
    assert (question.id, question.suite, question.hops) == ("mine_1", "mine", None)
    assert not DataFolder(tmp_path).holds("train", "mine")


def test_answers_are_cleaned_of_blanks_and_doubles(tmp_path: Path) -> None:
    (question,) = load_questions(write(tmp_path / "nq.test.jsonl", [own_row(golden_answers=[" a", "a", "", "b "])]))
    assert question.answers == ("a", "b")


def test_blank_lines_a_byte_order_mark_and_a_missing_last_newline_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "nq.test.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + jsonl([own_row(1)]) + b"\n\n" + jsonl([own_row(2)]).rstrip())
    assert len(load_questions(path)) == 2


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("NQ", "nq"), ("hotpot_qa", "hotpotqa"), ("2Wiki", "2wikimultihopqa"), ("searchR1_popqa", "popqa"), ("dev", None)],
)
def test_benchmarks_are_known_under_several_spellings(spelling: str, name: str | None) -> None:
    assert benchmark_name(spelling) == name


def test_hops_follow_from_the_benchmarks_construction() -> None:
    assert [hops_of(name, "x", {}) for name in BENCHMARKS] == [1, 1, 1, 2, None, None, 2]
    assert hops_of("musique", "4hop3__316459_41402", {}) == 4
    assert hops_of("musique", "dev_0", {"id": "2hop__1_2"}) == 2
    assert hops_of("2wikimultihopqa", "x", {"type": "comparison"}) == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_passages_are_read_in_wiki_18_layout(tmp_path: Path, suffix: str) -> None:
    (passage,) = load_corpus(write(tmp_path / f"corpus.{suffix}", [passage_row(3)]))
    assert (passage.id, passage.title) == ("3", "Book 3")
    assert passage.text == "Book 3 was written by Author 3.\nIt is long."


def test_a_title_with_quotation_marks_inside_keeps_them(tmp_path: Path) -> None:
    rows = [{"id": 1, "contents": '""Weird Al" Yankovic"\ntext'}, {"id": 2, "title": "T", "text": "t"}]
    first, second = load_corpus(write(tmp_path / "c.jsonl", rows))
    assert (first.title, first.id, second.title) == ('"Weird Al" Yankovic', "1", "T")


def test_a_large_corpus_streams_in_little_memory(tmp_path: Path) -> None:
    path = write(
        tmp_path / "corpus.jsonl.gz", [passage_row(n, contents=f'"T{n}"\n' + "word " * 200) for n in range(20000)]
    )
    tracemalloc.start()
    try:
        assert sum(1 for _ in iter_corpus(path)) == 20000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000  # the text has 20 MB
    finally:
        tracemalloc.stop()
    assert len(load_corpus(path, limit=3)) == 3


# --- broken files


def broken(tmp_path: Path, name: str, content: bytes) -> str:
    """The message of loading a file of that content."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_questions(path) if "corpus" not in name else load_corpus(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"id": "1", "quest', ":2: not valid JSON"),
        (b'{"id": "x" "y"}', ":2: not valid JSON"),
        (b"[1, 2]", ":2: expected an object, found list"),
        (b'"text"', ":2: expected an object, found str"),
        (b"\xff\xfe{}", ":2: not UTF-8"),
        (b"[" * 100_000, ":2:"),
        (b"{}", ":2: neither `golden_answers`"),
        (jsonl([own_row(question="")]), ":2: `question` is empty"),
        (jsonl([own_row(question=5)]), ":2: `question` is 5"),
        (jsonl([own_row(golden_answers=[])]), ":2: `golden_answers` is []"),
        (jsonl([own_row(golden_answers=["a", 5])]), ":2: `golden_answers` holds 5"),
        (jsonl([own_row(golden_answers=["", " "])]), ":2: every answer"),
        (jsonl([own_row(golden_answers={"a": 1})]), ":2: `golden_answers` is {"),
        (jsonl([own_row(benchmark="a/b")]), ":2: `benchmark` 'a/b' is no benchmark's name"),
        (jsonl([own_row(benchmark="x" * 65)]), ":2: `benchmark` 'xxx"),
        (jsonl([own_row(hops=True)]), ":2: `hops` is True"),
        (jsonl([own_row(supporting_titles="T")]), ":2: `supporting_titles` is 'T'"),
        (jsonl([own_row(id=None)]), ":2: `id` is empty"),
        (jsonl([own_row(id=7)]), ":2: `id` is 7"),
        (jsonl([own_row(0)]), ":2: id 'nq_dev_0' is also that of"),
        (jsonl([search_r1_row(reward_model={"style": "rule"})]), ":2: no `reward_model.ground_truth.target`"),
        (jsonl([search_r1_row(prompt=[])]), ":2: no `question`"),
        (jsonl([search_r1_row(extra_info={})]), ":2: neither `id` nor"),
        (jsonl([flashrag_row(metadata=[1])]), ":2: `metadata` is [1]"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(tmp_path: Path, line: bytes, fault: str) -> None:
    assert fault in broken(tmp_path, "nq.test.jsonl", jsonl([own_row(0)]) + line)


@pytest.mark.parametrize(
    ("row", "fault"),
    [({"id": None}, "`id` is None"), ({"contents": 3}, "`contents` is 3"), ({"contents": " "}, "`contents` is")],
)
def test_a_malformed_passage_is_named_with_its_line(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    assert f":2: {fault}" in broken(tmp_path, "corpus.jsonl", jsonl([passage_row(0), passage_row(1, **row)]))


def test_a_flashrag_file_of_an_unknown_benchmark_asks_for_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "(?)"  # no name of a benchmark
    folder.mkdir()
    assert "call the file <benchmark>.<split>.jsonl" in broken(folder, "test.jsonl", jsonl([flashrag_row()]))
    assert load_questions(folder / "test.jsonl", benchmark="popqa")[0].suite == "popqa"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_gzip_is_reported_with_the_line_it_stops_at(tmp_path: Path, share: float) -> None:
    rng = random.Random(1)
    rows = [own_row(n, question=f"{rng.random()} {rng.random()}") for n in range(2000)]
    whole = gzip.compress(jsonl(rows))
    message = broken(tmp_path, "nq.test.jsonl.gz", whole[: int(len(whole) * share)])
    assert "fetch it again" in message
    line = int(message.split(":")[1])
    assert 0.8 * share * 2000 < line < share * 2000 + 200


def test_a_gzip_with_damage_inside_is_reported(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(jsonl([own_row(n) for n in range(2000)])))
    whole[len(whole) // 2] ^= 0xFF
    broken(tmp_path, "nq.test.jsonl.gz", bytes(whole))


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("nq.test.jsonl.gz", jsonl([own_row()]), "not readable as gzip"),
        ("nq.test.parquet", b"PAR1 not really", "not readable as Parquet"),
        ("nq.test.parquet", b"", "not readable as Parquet"),
        ("nq.test.jsonl", b"", "holds no question"),
        ("nq.test.json", json.dumps([own_row()]).encode(), "the file is one JSON array"),
        ("nq.test.csv", b"id,question", "unknown kind of file"),
    ],
)
def test_a_wrong_kind_of_file_is_named(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    assert fault in broken(tmp_path, name, content)


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_questions(tmp_path / "nq.test.jsonl")
    with pytest.raises(DataError, match="no question files"):
        load_questions(tmp_path)


@given(content=st.binary(max_size=300))
def test_no_bytes_whatsoever_raise_anything_but_a_data_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for suffix in ("jsonl", "jsonl.gz"):
        path = tmp_path_factory.getbasetemp() / f"nq.test.{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError):
            load_questions(path)


# --- folders


def data_folder(tmp_path: Path) -> DataFolder:
    write(tmp_path / "nq.test.jsonl.gz", [own_row(n) for n in range(5)])
    write(tmp_path / "hotpotqa" / "dev.jsonl", [flashrag_row(n) for n in range(4)])
    write(tmp_path / "train.nq_hotpotqa.parquet", [search_r1_row(n) for n in range(3)])
    write(tmp_path / "corpus.jsonl", [passage_row(n) for n in (1, 2, 3)] + [passage_row(2, id="2b")])
    write(tmp_path / ".downloads" / "popqa" / "test.jsonl", [flashrag_row()])
    return DataFolder(tmp_path)


def test_a_folder_knows_splits_and_benchmarks_by_its_files_names(tmp_path: Path) -> None:
    folder = data_folder(tmp_path)
    assert [len(folder.split(s)) for s in ("train", "validation", "test")] == [3, 4, 5]
    assert {q.suite for q in folder.split("validation")} == {"hotpotqa"}
    assert len(folder.split("test", "nq")) == 5
    assert len(list(folder.corpus())) == 4


def test_annotated_titles_become_passage_ids_where_the_corpus_has_them_all(tmp_path: Path) -> None:
    supporting = {q.id: q.supporting for q in data_folder(tmp_path).split("test")}
    assert supporting == {
        "nq_dev_0": (), "nq_dev_1": ("1",), "nq_dev_2": ("2", "2b"), "nq_dev_3": ("3",), "nq_dev_4": ()
    }  # fmt: skip


def test_flashrags_supporting_facts_count_as_annotation(tmp_path: Path) -> None:
    facts = [{"supporting_facts": {"title": ["Book 1", "Book 2", "Book 1"]}}, {"supporting_facts": [["Book 3", 0]]}]
    rows = [flashrag_row(n, metadata=metadata) for n, metadata in enumerate(facts)]
    write(tmp_path / "hotpotqa" / "dev.jsonl", rows)
    write(tmp_path / "corpus.jsonl", [passage_row(n) for n in (1, 2, 3)])
    assert [q.supporting for q in DataFolder(tmp_path).split("validation")] == [("1", "2"), ("3",)]


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    folder = data_folder(tmp_path)
    with pytest.raises(DataError, match=r"no questions of popqa/test; there are .*nq/test"):
        folder.split("test", "popqa")
    with pytest.raises(DataError, match="no such folder"):
        DataFolder(tmp_path / "nowhere")


def test_a_question_in_two_files_is_named_with_both(tmp_path: Path) -> None:
    write(tmp_path / "nq.test.jsonl", [own_row(1)])
    write(tmp_path / "nq.dev.jsonl", [own_row(1)])
    with pytest.raises(DataError, match=r"nq\.test\.jsonl: question 'nq_dev_1' is in .*nq\.dev\.jsonl"):
        DataFolder(tmp_path).split("test")


# --- subsets


def questions(n: int) -> list[Question]:
    return [Question(f"q{i}", f"text {i}", ("a",), "nq") for i in range(n)]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5), st.randoms())
def test_subsets_are_nested_and_do_not_depend_on_the_order(a: int, b: int, seed: int, rng: random.Random) -> None:
    everyone = questions(50)
    shuffled = everyone.copy()
    rng.shuffle(shuffled)
    small, large = subset(everyone, min(a, b), seed), subset(shuffled, max(a, b), seed)
    assert large[: len(small)] == small
    assert len(large) == min(50, max(a, b))


def test_a_subset_does_not_change_when_other_questions_come_or_go() -> None:
    some = subset(questions(1000), 100, seed=3)
    kept = {q.id for q in some[:50]}
    without = [q for q in questions(1000) if q.id in kept or q not in some]
    assert {q.id for q in subset(without, 50, seed=3)} == kept


def test_seeds_give_different_subsets_and_negative_sizes_are_refused() -> None:
    chosen = [{q.id for q in subset(questions(1000), 100, seed)} for seed in (0, 1)]
    assert 2 < len(chosen[0] & chosen[1]) < 30  # ten by chance
    with pytest.raises(ValueError, match="-1"):
        subset(questions(3), -1)
