"""The seven question-answering benchmarks of the paper, where they are published, and under which terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUESTIONS_REPOSITORY = "RUC-NLPIR/FlashRAG_datasets"
"""Hub data set with a folder per benchmark: `nq/test.jsonl` and so on (FlashRAG, Jin et al. 2024)."""
TRAINING_REPOSITORY = "PeterJinGo/nq_hotpotqa_train"
"""Hub data set of Search-R1's training mix (Jin et al. 2025), the one Workflow-R1 draws its 10,000 questions from."""
TRAINING_FILE = "train.parquet"
CORPUS_REPOSITORY = "PeterJinGo/wiki-18-corpus"
CORPUS_FILE = "wiki-18.jsonl.gz"
TRAINING_SUITES = ("nq", "hotpotqa")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`hops` is None where it differs from question to question. `split` is the one scores are reported on: the test
    split where its answers are public, else the development split."""

    name: str
    hops: int | None
    split: str
    licence: str
    spellings: tuple[str, ...] = ()

    @property
    def hub_file(self) -> str:
        return f"{self.name}/{self.split}.jsonl"


BENCHMARKS: dict[str, Benchmark] = {
    b.name: b
    for b in (
        Benchmark("nq", 1, "test", "CC BY-SA 3.0", ("nq_open", "natural_questions", "naturalquestions")),
        Benchmark("triviaqa", 1, "test", "Apache-2.0", ("trivia_qa", "tqa")),
        Benchmark("popqa", 1, "test", "MIT", ("pop_qa",)),
        Benchmark("hotpotqa", 2, "dev", "CC BY-SA 4.0", ("hotpot_qa", "hotpot")),
        Benchmark("2wikimultihopqa", None, "dev", "Apache-2.0", ("2wiki", "2wikimqa", "2wikimultihop")),
        Benchmark("musique", None, "dev", "CC BY 4.0", ("musique_ans",)),
        Benchmark("bamboogle", 2, "test", "MIT"),
    )
}
_BY_SPELLING = {s: b.name for b in BENCHMARKS.values() for s in (b.name, *b.spellings)}
_MUSIQUE_HOPS = re.compile(r"(?<![0-9a-z])([2-4])hop")


def benchmark_name(text: str) -> str | None:
    """The registry's name of a benchmark as various sources spell it (`2wiki`, `HotpotQA`, `searchR1_nq`), or None."""
    cleaned = text.strip().lower().replace("-", "_").removeprefix("searchr1_")
    return _BY_SPELLING.get(cleaned)


OWN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A benchmark of one's own: it becomes a part of metric names (`harness.types.SuiteName`)."""


def suite_name(text: str) -> str | None:
    """A known benchmark's name, or any other name that fits `OWN_NAME`; None for what is no name."""
    cleaned = text.strip()
    return benchmark_name(cleaned) or (cleaned if OWN_NAME.fullmatch(cleaned) else None)


def hops_of(benchmark: str, question_id: str, metadata: Mapping[str, Any]) -> int | None:
    """Hops by the benchmark's construction: from MuSiQue's ids, from 2Wiki's question types; None if unknown."""
    known = BENCHMARKS.get(benchmark)
    if known is None or known.hops is not None:
        return known.hops if known is not None else None
    if benchmark == "musique":
        found = _MUSIQUE_HOPS.search(" ".join((question_id, str(metadata.get("id", "")))))
        return int(found[1]) if found is not None else None
    kind = metadata.get("type")
    return None if not isinstance(kind, str) else 4 if kind == "bridge_comparison" else 2
