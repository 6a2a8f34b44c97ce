"""A task of one's own: sums of two numbers, where any spelling of the right number counts.

    python -m harness.sweep ablations/granularity.yaml data.source=task data.task=examples/arithmetic.py \
        'data.train_suites=[sums]' 'data.eval_suites=[sums]'
"""

import random
from decimal import Decimal, InvalidOperation

from harness.types import Question

SIZES = {"train": 400, "validation": 50, "test": 100}


def questions(split: str) -> list[Question]:
    rng = random.Random(split)  # splits differ, and every trial has the same questions
    made = {}
    while len(made) < SIZES[split]:
        a, b = rng.randint(2, 999), rng.randint(2, 999)
        name = f"{split}-{a}+{b}"
        made[name] = Question(name, f"What is {a} plus {b}?", (str(a + b),), suite="sums", hops=1)
    return list(made.values())


def is_right(answer: str, question: Question) -> bool:
    try:
        return Decimal(answer.strip().rstrip(".").replace(",", "")) == Decimal(question.answers[0])
    except InvalidOperation:
        return False
