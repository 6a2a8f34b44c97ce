"""Parsing of one row of any known layout into a question or a passage.

Questions, distinguished by their fields:
1. `{id, benchmark, question, golden_answers, hops, supporting_titles, source}`: this project's own layout
2. `{id, question, golden_answers, metadata}`: FlashRAG
3. `{data_source, prompt, ability, reward_model: {style, ground_truth: {target}}, extra_info}`: Search-R1 (verl)
Passages: `{id, contents: "\\"Title\\"\\ntext"}` (wiki-18), or `{id, title, text}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.tasks.benchmarks.catalog import hops_of, suite_name
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.golds import read_golds
from harness.tasks.boundary import MAX_HOPS, MAX_ID_CHARS, MAX_TEXT_CHARS, is_count, is_visible
from harness.types import Passage, Question

_QUESTION_LABEL = re.compile(r"\bQuestion:(?:\*\*|__)?\s*")
_END_OF_TURN = re.compile(r"<\|[\w-]+\|>|\[/INST\]|</s>|<end_of_turn>|<think>|<\uff5c[^>]*>")
"""Of chat formats: what follows is not the user's."""


@dataclass(frozen=True, slots=True)
class Row:
    """A parsed question. `titles`: pages that suffice to answer it; None where they are not annotated."""

    question: Question
    titles: tuple[str, ...] | None
    source: str


def _text(row: Mapping[str, Any], field: str, where: str, most: int | None = None) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not is_visible(value):
        blank = value is None or isinstance(value, str)
        found = "is missing" if field not in row else "is empty" if blank else f"is {value!r:.40}"
        raise DataError(f"{where}: `{field}` {found}; it has to be a non-empty string")
    if most is not None and len(value) > most:
        raise DataError(f"{where}: `{field}` has {len(value)} characters; the most is {most}")
    return value.strip()


def _named(text: str, where: str, field: str) -> str:
    name = suite_name(text)
    if name is None:
        raise DataError(
            f"{where}: `{field}` {text!r:.80} is no benchmark's name: up to 64 of A-Z, a-z, 0-9, points, hyphens and "
            "underscores"
        )
    return name


def _prefixed(benchmark: str, key: str) -> str:
    """Upstream ids (`test_0`) occur in every benchmark: the name in front makes them unique."""
    return key if key.startswith(f"{benchmark}_") else f"{benchmark}_{key}"


def question_row(row: Mapping[str, Any], where: str, benchmark: str | None) -> Row:
    """The row as a question. `benchmark`: the file name's or the caller's, for layouts without that field.

    Raises DataError naming `where` and the field at fault.
    """
    if "reward_model" in row:
        return _search_r1(row, where)
    if "golden_answers" not in row:
        known = ", ".join(sorted(map(str, row)))[:200] or "no fields"
        raise DataError(
            f"{where}: neither `golden_answers` (FlashRAG) nor `reward_model` (Search-R1) in the row ({known}); "
            "see harness/tasks/benchmarks/row_formats.py for the layouts"
        )
    if "benchmark" in row:
        return _own(row, where)
    if benchmark is None:
        raise DataError(
            f"{where}: the row does not name its benchmark, nor does the path; call the file <benchmark>.<split>.jsonl "
            "(any name will do)"
        )
    return _flashrag(row, where, benchmark)


def _own(row: Mapping[str, Any], where: str) -> Row:
    hops, titles = row.get("hops"), row.get("supporting_titles")
    if hops is not None and not (is_count(hops, MAX_HOPS) and hops):
        raise DataError(f"{where}: `hops` is {hops!r:.40}; it has to be a whole number from 1 to {MAX_HOPS} or null")
    if titles is not None and not (isinstance(titles, list) and all(isinstance(t, str) for t in titles)):
        raise DataError(f"{where}: `supporting_titles` is {titles!r:.40}; it has to be a list of strings or null")
    question = Question(
        id=_text(row, "id", where, MAX_ID_CHARS),
        text=_text(row, "question", where, MAX_TEXT_CHARS),
        answers=read_golds(row.get("golden_answers"), "golden_answers", where),
        suite=_named(_text(row, "benchmark", where), where, "benchmark"),
        hops=hops,
    )
    return Row(question, tuple(titles) if titles is not None else None, str(row.get("source") or ""))


def _flashrag(row: Mapping[str, Any], where: str, benchmark: str) -> Row:
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise DataError(f"{where}: `metadata` is {metadata!r:.40}; it has to be an object or null")
    key = _text(row, "id", where, MAX_ID_CHARS)
    question = Question(
        id=_prefixed(benchmark, key),
        text=_text(row, "question", where, MAX_TEXT_CHARS),
        answers=read_golds(row["golden_answers"], "golden_answers", where),
        suite=benchmark,
        hops=hops_of(benchmark, key, metadata),
    )
    return Row(question, _flashrag_titles(metadata, where), "")


def _flashrag_titles(metadata: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    """Titles of the gold pages as HotpotQA and 2Wiki annotate them, in either of the two spellings in use."""
    facts = metadata.get("supporting_facts")
    if facts is None:
        return None
    if isinstance(facts, Mapping):
        titles = facts.get("title")
    elif isinstance(facts, list):
        titles = [fact[0] if isinstance(fact, list) and fact else fact for fact in facts]
    else:
        titles = facts
    if titles is not None and not (isinstance(titles, list) and all(isinstance(title, str) for title in titles)):
        raise DataError(
            f"{where}: `metadata.supporting_facts` is {facts!r:.60}; it has to be {{title: [text, …]}}, "
            "[[title, sentence], …] or null"
        )
    return tuple(dict.fromkeys(titles or ())) or None


def _search_r1(row: Mapping[str, Any], where: str) -> Row:
    model, extra = row["reward_model"], row.get("extra_info") or {}
    truth = model.get("ground_truth") if isinstance(model, Mapping) else None
    if not isinstance(truth, Mapping) or "target" not in truth:
        raise DataError(f"{where}: no `reward_model.ground_truth.target`; it has to be a list of accepted answers")
    benchmark = _named(_text(row, "data_source", where), where, "data_source")
    if isinstance(row.get("id"), str):
        key = _text(row, "id", where, MAX_ID_CHARS)
    elif isinstance(extra, Mapping) and _is_index(extra.get("index")) and isinstance(extra.get("split", ""), str):
        made = f"{extra.get('split', 'train')}_{extra['index']}"
        key = _text({"extra_info": made}, "extra_info", where, MAX_ID_CHARS)
    else:
        raise DataError(
            f"{where}: neither `id` nor `extra_info.index` is there as text or a whole number; a row needs one of them"
        )
    metadata = row.get("metadata")
    question = Question(
        id=_prefixed(benchmark, key),
        text=_asked(row, where),
        answers=read_golds(truth["target"], "reward_model.ground_truth.target", where),
        suite=benchmark,
        hops=hops_of(benchmark, key, metadata if isinstance(metadata, Mapping) else {}),
    )
    return Row(question, None, "")


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return is_visible(value) and len(value) <= MAX_ID_CHARS
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1


def _asked(row: Mapping[str, Any], where: str) -> str:
    """The bare question: its own column where the file kept it, else what follows `Question:` in the prompt.

    Of several `Question:` (solved examples come first) the last counts where it begins a line.
    """
    if isinstance(row.get("question"), str) and is_visible(row["question"]):
        return _text(row, "question", where, MAX_TEXT_CHARS)
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        last = prompt[-1] if prompt else None
        prompt = last.get("content") if isinstance(last, Mapping) else None
    prompt = prompt if isinstance(prompt, str) else ""
    labels = list(_QUESTION_LABEL.finditer(prompt))
    rest = _END_OF_TURN.split(prompt[labels[-1].end() :])[0] if labels else ""
    text = rest.strip().removesuffix("Answer:").strip()
    if not is_visible(text):
        raise DataError(f"{where}: no `question`, and no text after `Question:` in `prompt`; one of them is needed")
    own_line = len(labels) == 1 or prompt[: labels[-1].start()].rstrip(" \t*_#").endswith("\n")
    if not own_line or re.search(r"\bAnswer:", text):
        raise DataError(f"{where}: `prompt` holds several questions or answers; add a column `question` with its own")
    if len(text.splitlines()) > 1:
        raise DataError(f"{where}: `prompt` goes on after its question's line; add a column `question` with its own")
    return _text({"prompt": text}, "prompt", where, MAX_TEXT_CHARS)


def passage_of(row: Mapping[str, Any], where: str) -> Passage:
    """The row as a passage. Raises DataError naming `where` and the field at fault."""
    key = row.get("id")
    if not isinstance(key, str | int) or isinstance(key, bool) or not 0 < len(str(key)) <= MAX_ID_CHARS:
        raise DataError(f"{where}: `id` is {key!r:.40}; it has to be a number or a string of at most {MAX_ID_CHARS}")
    if "contents" in row:
        title, _, text = _text(row, "contents", where).partition("\n")
    else:
        title, text = _text(row, "title", where), _text(row, "text", where)
    title = title.strip()
    if len(title) > 1 and title[0] == title[-1] == '"':
        title = title[1:-1]
    return Passage(str(key), title, text.strip())
