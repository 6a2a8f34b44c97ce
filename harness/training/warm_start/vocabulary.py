"""The tiny policies' vocabulary: every word that they can meet, and which of them name things."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from harness.env.interfaces import INTERFACES
from harness.env.prompts.chat import ChatFormat
from harness.env.prompts.perturbations import PERTURBATIONS, Perturbed, problem_of
from harness.env.prompts.system import standard_prompt
from harness.operators import POOLS
from harness.policy.tiny import word_tokenizer
from harness.protocol import parse_turn, with_failure
from harness.tasks.world import RELATIONS, load_world
from harness.tasks.world.splits import SPLITS
from harness.training.warm_start.name_randomization import POPULATIONS
from harness.training.warm_start.practice_episodes import (
    BUDGETS,
    RecipePhase,
    drawn_questions,
    environments,
    scripted_episodes,
    suite_shares,
)
from harness.training.warm_start.world_agents import SKILLED
from harness.types import ParseFailure


def make_tokenizer(seed: int = 20_260_201) -> ChatFormat:
    """One token for every word of passages, questions, prompts and scripted episodes in both interfaces.

    The episodes are played twice: the first vocabulary spells what only they hold.
    """
    world = load_world()
    texts = [f"[1] {p.title}: {p.text}" for p in world.passages]
    texts += [q.text for split in SPLITS for q in world.split(split)]
    for interface in (form(compact=True) for form in INTERFACES.values()):
        texts += [interface.warning(with_failure(parse_turn("", ()), failure)) for failure in ParseFailure]
        for base in (standard_prompt(pool, "compact", interface) for pool in POOLS):
            fit = [(), *((name,) for name in PERTURBATIONS if problem_of((name,), base) is None)]
            texts += [
                part
                for names in fit
                for q in world.split("train")[:9]
                for part in Perturbed(base, names, 0).messages(q)
            ]
    texts += ["system\nuser\nassistant\n", *(f"Population: {number}." for number in POPULATIONS)]
    first = ChatFormat(word_tokenizer(texts))
    habits = replace(SKILLED, stop=0.03)  # often enough for the thoughts of an early stop
    phase = RecipePhase("words", 1_000, 0.0, 0.0, 0.0, habits, suite_shares(0.7), renamed=0.0)
    rng = np.random.default_rng(seed)
    for name in INTERFACES:
        settings = environments(first, name, replace(BUDGETS, max_turn_tokens=1_000, max_response_tokens=20_000))
        for episode in scripted_episodes(phase, settings, drawn_questions(phase, rng), int(rng.integers(2**31))):
            for turn in episode.turns:
                texts += [turn.parsed.text, turn.result.text if turn.result else ""]
    return ChatFormat(word_tokenizer(texts))


def name_words(chat: ChatFormat) -> tuple[str, ...]:
    """Words of names in passages that are one token after a blank, in the alphabet's order."""
    named = {w for p in load_world().passages for w in re.findall(r"(?<= )[A-Z][a-z]+", f" {p.title} {p.text}")}
    nouns = {w for relation in RELATIONS.values() for w in relation.noun.split()}
    return tuple(sorted(w for w in named - nouns if len(chat.tokenizer.encode(f" {w}")) == 1))
