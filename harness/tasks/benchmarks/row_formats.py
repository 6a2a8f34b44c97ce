"""One row of any of the known layouts, as a question or a passage of the harness.

Questions, told apart by their fields:
1. `{id, benchmark, question, golden_answers, hops, supporting_titles, source}`: this project's own layout
2. `{id, question, golden_answers, metadata}`: FlashRAG
3. `{data_source, prompt, ability, reward_model: {style, ground_truth: {target}}, extra_info}`: Search-R1 (verl)
Passages: `{id, contents: "\\"Title\\"\\ntext"}` (wiki-18), or `{id, title, text}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.tasks.benchmarks.catalog import BENCHMARKS, benchmark_name, hops_of
from harness.tasks.benchmarks.errors import DataError
from harness.types import Passage, Question

_ASKED = re.compile(r"\bQuestion:\s*(.+?)\s*(?:<\|im_end\|>.*)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """A question as a file has it. `titles`: pages that suffice to answer it; None where nobody annotated them."""

    question: Question
    titles: tuple[str, ...] | None
    source: str


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if field not in row else "is empty" if value in ("", None) else f"is {value!r:.40}"
        raise DataError(f"{where}: `{field}` {found}; it has to be a non-empty string")
    return value.strip()


def _answers(value: Any, field: str, where: str) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, Sequence) or not listed:
        raise DataError(f"{where}: `{field}` is {value!r:.40}; it has to be a non-empty list of strings")
    if not all(isinstance(answer, str) for answer in listed):
        raise DataError(
            f"{where}: `{field}` holds {next(a for a in listed if not isinstance(a, str))!r:.40}: strings only"
        )
    answers = tuple(dict.fromkeys(answer.strip() for answer in listed if answer.strip()))
    if not answers:
        raise DataError(f"{where}: every answer in `{field}` is empty; drop the row")
    return answers


def _named(text: str, where: str, field: str) -> str:
    name = benchmark_name(text)
    if name is None:
        raise DataError(f"{where}: `{field}` {text!r} is no known benchmark; known are {', '.join(BENCHMARKS)}")
    return name


def _prefixed(benchmark: str, key: str) -> str:
    """Upstream ids (`test_0`) occur in every benchmark: the name in front makes them unique."""
    return key if key.startswith(f"{benchmark}_") else f"{benchmark}_{key}"


def question_row(row: Mapping[str, Any], where: str, benchmark: str | None) -> Row:
    """The row as a question. `benchmark` is what the file's name or the caller says, for layouts that do not say it.

    Raises DataError naming `where` and the field at fault.
    """
    if "reward_model" in row:
        return _search_r1(row, where)
    if "golden_answers" not in row:
        known = ", ".join(sorted(map(str, row))) or "no fields"
        raise DataError(
            f"{where}: neither `golden_answers` (FlashRAG) nor `reward_model` (Search-R1) in the row ({known}); "
            "see harness/tasks/benchmarks/row_formats.py for the layouts"
        )
    if "benchmark" in row:
        return _own(row, where)
    if benchmark is None:
        raise DataError(
            f"{where}: the row does not name its benchmark, nor does the path; call the file <benchmark>.<split>.jsonl "
            f"or put it into a folder of that name ({', '.join(BENCHMARKS)})"
        )
    return _flashrag(row, where, benchmark)


def _own(row: Mapping[str, Any], where: str) -> Row:
    hops, titles = row.get("hops"), row.get("supporting_titles")
    if hops is not None and (not isinstance(hops, int) or isinstance(hops, bool) or hops < 1):
        raise DataError(f"{where}: `hops` is {hops!r:.40}; it has to be a positive whole number or null")
    if titles is not None and not (isinstance(titles, list) and all(isinstance(t, str) for t in titles)):
        raise DataError(f"{where}: `supporting_titles` is {titles!r:.40}; it has to be a list of strings or null")
    question = Question(
        id=_text(row, "id", where),
        text=_text(row, "question", where),
        answers=_answers(row.get("golden_answers"), "golden_answers", where),
        suite=_named(_text(row, "benchmark", where), where, "benchmark"),
        hops=hops,
    )
    return Row(question, tuple(titles) if titles is not None else None, str(row.get("source") or ""))


def _flashrag(row: Mapping[str, Any], where: str, benchmark: str) -> Row:
    metadata = row.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise DataError(f"{where}: `metadata` is {metadata!r:.40}; it has to be an object or null")
    key = _text(row, "id", where)
    question = Question(
        id=_prefixed(benchmark, key),
        text=_text(row, "question", where),
        answers=_answers(row["golden_answers"], "golden_answers", where),
        suite=benchmark,
        hops=hops_of(benchmark, key, metadata),
    )
    return Row(question, _flashrag_titles(metadata), "")


def _flashrag_titles(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Titles of the gold pages as HotpotQA and 2Wiki annotate them, in either of the two spellings in use."""
    facts = metadata.get("supporting_facts")
    if isinstance(facts, Mapping):
        titles = facts.get("title") or ()
    elif isinstance(facts, list):
        titles = [fact[0] for fact in facts if isinstance(fact, list) and fact]
    else:
        return None
    return tuple(dict.fromkeys(t for t in titles if isinstance(t, str))) or None


def _search_r1(row: Mapping[str, Any], where: str) -> Row:
    model, extra = row["reward_model"], row.get("extra_info") or {}
    truth = model.get("ground_truth") if isinstance(model, Mapping) else None
    if not isinstance(truth, Mapping) or "target" not in truth:
        raise DataError(f"{where}: no `reward_model.ground_truth.target`; it has to be a list of accepted answers")
    benchmark = _named(_text(row, "data_source", where), where, "data_source")
    if isinstance(row.get("id"), str):
        key = str(row["id"])
    elif isinstance(extra, Mapping) and "index" in extra:
        key = f"{extra.get('split', 'train')}_{extra['index']}"
    else:
        raise DataError(f"{where}: neither `id` nor `extra_info.index`; a row needs one of them to be told apart")
    metadata = row.get("metadata")
    question = Question(
        id=_prefixed(benchmark, key),
        text=_asked(row, where),
        answers=_answers(truth["target"], "reward_model.ground_truth.target", where),
        suite=benchmark,
        hops=hops_of(benchmark, key, metadata if isinstance(metadata, Mapping) else {}),
    )
    return Row(question, None, "")


def _asked(row: Mapping[str, Any], where: str) -> str:
    """The bare question: its own column where the file kept it, else what follows `Question:` in the prompt."""
    if isinstance(row.get("question"), str) and row["question"].strip():
        return str(row["question"]).strip()
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        last = prompt[-1] if prompt else None
        prompt = last.get("content") if isinstance(last, Mapping) else None
    found = _ASKED.search(prompt) if isinstance(prompt, str) else None
    if found is None:
        raise DataError(f"{where}: no `question`, and no text after `Question:` in `prompt`; one of them is needed")
    return found[1]


def passage_of(row: Mapping[str, Any], where: str) -> Passage:
    """The row as a passage. Raises DataError naming `where` and the field at fault."""
    key = row.get("id")
    if not isinstance(key, str | int) or isinstance(key, bool) or key == "":
        raise DataError(f"{where}: `id` is {key!r:.40}; it has to be a string or a number")
    if "contents" in row:
        title, _, text = _text(row, "contents", where).partition("\n")
    else:
        title, text = _text(row, "title", where), _text(row, "text", where)
    title = title.strip()
    if len(title) > 1 and title[0] == title[-1] == '"':
        title = title[1:-1]
    return Passage(str(key), title, text.strip())
