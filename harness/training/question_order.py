"""The order in which a trial asks its training questions: a curriculum, then epochs without end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, count, islice

import numpy as np

from harness.config import TrialConfig
from harness.training.trial_data import TrialData
from harness.types import Question

Stage = tuple[int, Sequence[Question]]
"""A number of questions to ask, and which are asked."""


def question_order(
    questions: Sequence[Question], seed: int, skip: int = 0, stages: Sequence[Stage] = ()
) -> Iterator[Question]:
    """Questions without end: each once an epoch, in a new random order every epoch; the first `skip` are left out.

    The questions of the `stages` come first.
    """

    def endless(asked: Sequence[Question], *key: int) -> Iterator[Question]:
        rng = np.random.default_rng([seed, 17, *key])
        return (asked[int(i)] for _ in count() for i in rng.permutation(len(asked)))

    early = (islice(endless(asked, i), n) for i, (n, asked) in enumerate(stages, 1))
    return islice(chain(chain.from_iterable(early), endless(questions)), skip, None)


def curriculum_stages(config: TrialConfig, data: TrialData) -> list[Stage]:
    """The stages of the curriculum."""
    return [
        (stage.steps * config.rollout.prompts_per_step, [q for q in data.train if q.suite in stage.suites])
        for stage in config.data.curriculum
    ]
