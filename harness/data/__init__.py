"""Real question-answering data: files of the known layouts, the seven benchmarks, `python -m harness.data prepare`."""

from harness.data.benchmarks import BENCHMARKS, Benchmark
from harness.data.errors import DataError
from harness.data.leaks import Leak, find_leaks
from harness.data.load import DataFolder, iter_corpus, load_corpus, load_questions, subset

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "DataError",
    "DataFolder",
    "Leak",
    "find_leaks",
    "iter_corpus",
    "load_corpus",
    "load_questions",
    "subset",
]
