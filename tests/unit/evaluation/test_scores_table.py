"""Tables of an evaluation as files: text of models and questions is never a formula of a spreadsheet."""

from __future__ import annotations

import csv
import io

from harness.evaluation.storage import _csv


def test_answers_and_questions_are_no_formulas_and_numbers_stay() -> None:
    written = {"question": "=1+1", "answer": "@SUM(A1)", "gold": "-2+3+cmd|' /C x'!A0", "reward": -0.5, "em": 1}
    (read,) = csv.DictReader(io.StringIO(_csv([written]).decode()))
    assert read == {
        "question": "'=1+1", "answer": "'@SUM(A1)", "gold": "'-2+3+cmd|' /C x'!A0", "reward": "-0.5", "em": "1",
    }  # fmt: skip
