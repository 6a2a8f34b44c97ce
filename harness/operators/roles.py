"""Roles of operators: their part in a workflow, by which faults, detection and analysis know them."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """An operator's part in a workflow, and the form of its result. Faults strike and are detected by role."""

    RETRIEVES = "retrieves"  # passages about a query: `[1] Title: snippet`
    ANSWERS = "answers"  # one answer: `Answer: …`
    SAMPLES = "samples"  # several candidate answers: `[Answer 1] … [Answer 2] …`
    REFINES = "refines"  # a better query, no answer
    REVIEWS = "reviews"  # a verdict on the <solution> of its input: `Feedback: …`
    REVISES = "revises"  # a better solution, by the feedback given: `Answer: …`
    CHOOSES = "chooses"  # one of the solutions given: `Answer: …`
    WARNS = "warns"  # the environment's reply to a turn that cannot be executed; cannot be called


ANSWERING = frozenset({Role.ANSWERS, Role.SAMPLES, Role.REVISES, Role.CHOOSES})
"""Roles whose results state an answer."""
SECOND_LOOKS = frozenset({Role.REVIEWS, Role.REVISES, Role.CHOOSES})
"""Roles that work on answers given to them."""
