"""Real question-answering data: files of the known layouts, the seven benchmarks, `python -m harness.data prepare`."""

from harness.tasks.benchmarks.catalog import BENCHMARKS, Benchmark
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.leaks import Leak, find_leaks
from harness.tasks.benchmarks.load import DataFolder, iter_corpus, load_corpus, load_questions, subset

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
