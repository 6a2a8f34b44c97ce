"""Rows as nobody should write them: read right, or refused with file and line, never a traceback."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from harness.protocol.scoring import exact_match, f1, lenient
from harness.tasks.benchmarks import DataError, load_corpus, load_questions
from harness.tasks.benchmarks.load import iter_question_rows
from harness.tasks.benchmarks.manifest import write_rows
from harness.tasks.boundary import MAX_HOPS, MAX_ID_CHARS
from tests.support.hostile_rows import hostile_line
from tests.support.qa_layouts import flashrag_row, jsonl, own_row, passage_row, search_r1_row

CASES = 10_000


def file_of(tmp_path: Path, name: str, *rows: dict[str, Any] | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(b"".join(row if isinstance(row, bytes) else jsonl([row]) for row in rows))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_corpus(path) if "corpus" in path.name else load_questions(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert message.isprintable()
    return message.removeprefix(str(path))


def golds(tmp_path: Path, given: Any) -> tuple[str, ...]:
    (question,) = load_questions(file_of(tmp_path, "popqa.test.jsonl", flashrag_row(golden_answers=given)))
    return question.answers


# --- text that is no Unicode


@pytest.mark.parametrize(
    "row",
    [
        b'{"id":"q0","question":"smile \\ud83d","golden_answers":["x"]}\n',
        b'{"id":"q\\udc00","question":"who","golden_answers":["x"]}\n',
        b'{"id":"q0","question":"who","golden_answers":["x", "\\uD83D"]}\n',
        b'{"id":"q0","question":"who","golden_answers":["x"],"metadata":{"type":"\\ud83d"}}\n',
        b'{"id":"q0","question":"who","golden_answers":["x"],"\\ud83d":1}\n',
        b'{"id":"q0","question":"who","golden_answers":["x"],"metadata":{"supporting_facts":[["\\ud83d",0]]}}\n',
    ],
)
def test_half_a_surrogate_pair_anywhere_in_a_question_is_refused_with_its_line(tmp_path: Path, row: bytes) -> None:
    assert refusal(file_of(tmp_path, "nq.test.jsonl", flashrag_row(1), row)).startswith(":2: ")


@pytest.mark.parametrize("field", ["id", "title", "text"])
def test_half_a_surrogate_pair_in_a_passage_is_refused_with_its_line(tmp_path: Path, field: str) -> None:
    row = {"id": "p0", "title": "T", "text": "t"}
    line = jsonl([{**row, field: "weird HALF text"}]).replace(b"HALF", rb"\ud83d")
    assert refusal(file_of(tmp_path, "corpus.jsonl", passage_row(1), line)).startswith(f":2: `{field}`")


def test_a_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    line = jsonl([flashrag_row(question="smile PAIR")]).replace(b"PAIR", rb"\ud83d\ude00")
    (question,) = load_questions(file_of(tmp_path, "nq.test.jsonl", line))
    assert question.text == "smile 😀"


# --- numbers


@pytest.mark.parametrize("digits", [20, 400, 4301, 5000, 1_000_000])
@pytest.mark.parametrize("name", ["nq.test.jsonl", "corpus.jsonl"])
def test_integers_beyond_64_bits_are_refused_with_their_line(tmp_path: Path, name: str, digits: int) -> None:
    line = b'{"id":"q0","question":"who","golden_answers":["x"],"metadata":{"n":-' + b"9" * digits + b"}}\n"
    assert f"{digits} digits" in refusal(file_of(tmp_path, name, line))


@pytest.mark.parametrize("hops", [0, -1, MAX_HOPS + 1, 2**40, 1.0, True, "2", [2]])
def test_hops_are_a_small_positive_number(tmp_path: Path, hops: Any) -> None:
    assert "`hops`" in refusal(file_of(tmp_path, "nq.test.jsonl", own_row(hops=hops)))


def test_nesting_is_bounded(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    assert "nested" in refusal(file_of(tmp_path, "nq.test.jsonl", flashrag_row(metadata={"a": deep})))


# --- gold answers


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ('["Paris", "City of Light"]', ("Paris", "City of Light")),
        (" ['Paris', \"L'Aquila\"] ", ("Paris", "L'Aquila")),
        ("('Paris', 'London')", ("Paris", "London")),
        ('{"Paris", "London"}', ("Paris", "London")),
        (["[\"Paris\", \"City of Light\"]", "Lutetia"], ("Paris", "City of Light", "Lutetia")),
        ('["Par\\u00eds"]', ("París",)),
        ("Paris", ("Paris",)),
        ("[sic]", ("[sic]",)),
        (["[O.S. 6 January] 1835"], ("[O.S. 6 January] 1835",)),
        (["[a, b]"], ("[a, b]",)),
        ("(255, 0, 0)", ("(255, 0, 0)",)),
        ('("Heroes")', ('("Heroes")',)),
        ("(The People's Republic of) China", ("(The People's Republic of) China",)),
        ('"Heroes"', ('"Heroes"',)),
        (["The The"], ("The The",)),
        (["*", "saltire"], ("*", "saltire")),
        ("\ufeff[\"Paris\", \"Lutetia\"]\u200b", ("Paris", "Lutetia")),
        (["O(n)", "f([x])", "'[sic]'"], ("O(n)", "f([x])", "'[sic]'")),
    ],
)  # fmt: skip
def test_golds_are_read_right(tmp_path: Path, given: Any, read: tuple[str, ...]) -> None:
    assert golds(tmp_path, given) == read


@pytest.mark.parametrize(
    "given",
    [
        "['a' 'b']", "[\"a\", 5]", "[1998, 1999]", "[]", "[\"\"]", "['a', 'b'", "[Paris, London]", "{'a': 'b'}",
        "array(['a', 'b'], dtype=object)", "['a', ['b']]", "[\u201ca\u201d, \u201cb\u201d]", '[""a"", "b"]',
        r'"[\"Paris\", \"Lutetia\"]"', "\"['Paris']\"", "pd.Index(['a', 'b'], dtype='object')", "deque(['a'])",
        "dict_values(['a'])", "\u3164", "\u2800", "\u200b[\"a\", 5]",
        "[\u201ca\u201d]", "{}", "()", "Paris\nLondon", "- a\n- b",
        ["['a' 'b']"], ["\u200b"], ["\u200b \u00ad"], [None], {"a": "b"}, 5, None, ["x" * 200_000], ["a"] * 0,
        [str(n) for n in range(20_000)],
    ],
)  # fmt: skip
def test_golds_that_could_be_read_in_two_ways_or_none_are_refused(tmp_path: Path, given: Any) -> None:
    path = file_of(tmp_path, "popqa.test.jsonl", flashrag_row(golden_answers=given))
    assert "golden_answers" in refusal(path)


@pytest.mark.parametrize("quote", [repr, lambda golds: str(golds).replace("'", '"')])
def test_every_list_of_strings_survives_being_written_as_text(tmp_path: Path, quote: Any) -> None:
    rng = random.Random(0)
    for _ in range(300):
        written = [
            "".join(rng.choices("aé, []()1.-", k=rng.randint(1, 8))).strip() + "x" for _ in range(rng.randint(1, 4))
        ]
        assert golds(tmp_path, quote(written)) == tuple(dict.fromkeys(g.strip() for g in written))


def test_a_gold_that_normalises_to_nothing_is_matched_by_itself_alone(tmp_path: Path) -> None:
    read = golds(tmp_path, ["The The"])
    for score in (exact_match, f1, lenient):
        assert score("the the", read) == 1
        assert [score(answer, read) for answer in (".", "", "A", "an")] == [0, 0, 0, 0]


# --- prompts


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("Question: who was first? Answer: A.\nQuestion: who was second?\n", "who was second?"),
        ("Question: a?\nAnswer: A\n\n  Question: b?\nAnswer:", "b?"),
        ("Use <search>. For example, <answer> Beijing </answer>. Question: how high?\n", "how high?"),
        ("<|im_start|>user\nQuestion: a?<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\n"
         "Question: b?<|im_end|>\n<|im_start|>assistant\n", "b?"),
        ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQuestion: c?<|im_end|>\n", "c?"),
        ("**Question:** a?\n**Answer:** A\n\n**Question:** b?\n", "b?"),
        ("Question: b?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "b?"),
        ("<|user|>\nQuestion: b? <think>", "b?"),
        ("<s>[INST] Be brief. Question: b? [/INST]", "b?"),
        ("<start_of_turn>user\nQuestion: b?<end_of_turn>\n<start_of_turn>model\n", "b?"),
    ],
)  # fmt: skip
def test_the_question_of_a_prompt_is_the_one_after_its_examples(tmp_path: Path, prompt: str, asked: str) -> None:
    for given in (prompt, [{"role": "system", "content": "x"}, {"role": "user", "content": prompt}]):
        (question,) = load_questions(file_of(tmp_path, "train.jsonl", search_r1_row(prompt=given)))
        assert question.text == asked


@pytest.mark.parametrize(
    "prompt",
    [
        "Question: who? For example, Question: x? is short", "Question: who was first? Answer: A.", "Question: ",
        "who?", "Question: what does 'Question: Time' mean?", "Question: a?\nQuestion: b? Answer: B", [], [5], {"a": 1},
        "Question: who?\nAnswer in one word.", "Question: who?\nContext: She is.\n", "Question: who?\u2028Be brief.",
    ],
)  # fmt: skip
def test_a_prompt_whose_question_is_not_clear_is_refused(tmp_path: Path, prompt: Any) -> None:
    assert "`question`" in refusal(file_of(tmp_path, "train.jsonl", search_r1_row(prompt=prompt)))


# --- titles


@pytest.mark.parametrize(
    "facts", [{"title": 5}, {"title": "Paris"}, {"title": ["a", 5]}, 5, "Paris", [[5, 0]], [{"t": 1}]]
)
def test_supporting_facts_of_odd_types_are_refused(tmp_path: Path, facts: Any) -> None:
    path = file_of(tmp_path, "hotpotqa.dev.jsonl", flashrag_row(metadata={"supporting_facts": facts}))
    assert "supporting_facts" in refusal(path)


@pytest.mark.parametrize("facts", [{"title": ["A", "B", "A"], "sent_id": [0, 1, 2]}, [["A", 0], ["B", 1], ["A", 2]]])
def test_supporting_facts_of_both_spellings_give_the_titles(tmp_path: Path, facts: Any) -> None:
    path = file_of(tmp_path, "hotpotqa.dev.jsonl", flashrag_row(metadata={"supporting_facts": facts}))
    assert [row.titles for row in iter_question_rows(path)] == [("A", "B")]


# --- the kind as a whole


def located(path: Path, error: DataError) -> bool:
    return str(error).startswith(f"{path}:1:") and str(error).isprintable()


def test_any_line_is_a_question_that_can_be_stored_or_one_located_error(tmp_path: Path) -> None:
    rng, read, refused = random.Random(0), 0, []
    path, again = tmp_path / "nq.test.jsonl", tmp_path / "again.nq.test.jsonl.gz"
    for case in range(CASES):
        path.unlink(missing_ok=True)  # a file written over is flushed to the disk when it is closed
        path.write_bytes(hostile_line(rng))
        try:
            rows = list(iter_question_rows(path))
        except DataError as error:
            refused.append(located(path, error))
            continue
        read += len(rows)
        for row in rows:
            q = row.question
            assert 0 < len(q.id) <= MAX_ID_CHARS + len("2wikimultihopqa_")
            assert q.hops is None or 1 <= q.hops <= MAX_HOPS
            assert all(isinstance(t, str) for t in row.titles or ())
        if case % 20 == 0:  # it waits for the disk
            write_rows(again, rows)
            assert list(iter_question_rows(again)) == rows
    assert all(refused)
    assert min(read, len(refused)) > CASES / 10


def test_any_line_is_a_passage_that_can_be_sent_or_one_located_error(tmp_path: Path) -> None:
    rng, read, refused = random.Random(0), 0, []
    path = tmp_path / "corpus.jsonl"
    for _ in range(CASES):
        path.unlink(missing_ok=True)  # a file written over is flushed to the disk when it is closed
        path.write_bytes(hostile_line(rng, passage=True))
        try:
            passages = load_corpus(path)
        except DataError as error:
            refused.append(located(path, error))
            continue
        read += len(passages)
        for passage in passages:
            (passage.id + passage.title + passage.text).encode()
    assert all(refused)
    assert min(read, len(refused)) > CASES / 10
