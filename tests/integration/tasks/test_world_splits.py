"""Splits of the offline world: nothing held out is ever seen in training, nothing depends on the process."""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import FrozenInstanceError

import pytest

from harness.tasks.world import SUITES, load_world
from harness.tasks.world.splits import SPLITS
from harness.types import Question

WORLD = load_world()


def fingerprint() -> str:
    """What the world is, as one hash: passages, questions, held-out entities."""
    world = load_world()
    parts = [f"{p.id}|{p.title}|{p.text}" for p in world.passages]
    parts += [f"{split}|{q!r}" for split in SPLITS for q in world.split(split)] + sorted(world.held_out)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def mentions(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w'-]){re.escape(name)}(?![\w'-])", text) is not None


# --- splits


def test_splits_are_disjoint_in_what_they_ask() -> None:
    asked: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for split in SPLITS:
        for q in WORLD.split(split):
            # Answering "the capital of the Hellenic Republic" is answering "the capital of Greece".
            apart = q.suite in ("world_compare", "world_aggregate")
            start = tuple(sorted(s.passage_id for s in q.plan)) if apart else q.plan[0].passage_id
            most = re.search("fewe|small", q.text) is None
            asked[(str(start), apart, str(most), *(s.relation for s in q.plan))].add(split)
    assert all(len(splits) == 1 for splits in asked.values())


def test_forty_countries_and_a_share_of_cities_are_held_out() -> None:
    kinds = Counter(WORLD.entities[title].kind for title in WORLD.held_out)
    cities = sum(e.kind == "city" for e in WORLD.entities.values())
    assert kinds["country"] == 40
    assert 0.1 < kinds["city"] / cities < 0.4


def test_no_training_question_mentions_a_held_out_country_or_city() -> None:
    texts = [
        " \n ".join((q.text, *q.answers, *(f"{s.subject} \n {s.value}" for s in q.plan))) for q in WORLD.split("train")
    ]
    everything = "\n".join(texts)
    for title in WORLD.held_out:
        entity = WORLD.entities[title]
        names = {entity.mention, title} if entity.shared else {entity.name, entity.title, *entity.aliases}
        assert not any(name in everything and mentions(name, everything) for name in names), title
    assert not any(WORLD.is_held_out_entity(q) for q in WORLD.split("train"))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_asks_for_held_out_and_for_seen_entities(split: str) -> None:
    for suite in SUITES:
        held_out = [WORLD.is_held_out_entity(q) for q in WORLD.split(split, suite)]
        assert 0.1 < sum(held_out) / len(held_out) < 0.9


@pytest.mark.parametrize("suite", SUITES)
def test_the_first_questions_of_a_suite_are_a_fair_sample_of_it(suite: str) -> None:
    first = WORLD.split("test", suite)[:60]
    everyone = WORLD.split("test", suite)
    share = [sum(map(WORLD.is_held_out_entity, some)) / len(some) for some in (first, everyone)]
    assert abs(share[0] - share[1]) < 0.2


def test_combinations_of_world_combo_are_in_no_training_question() -> None:
    def combinations(questions: tuple[Question, ...]) -> set[tuple[str, ...]]:
        return {
            (WORLD.entities[a.subject].kind if a.subject in WORLD.entities else "?", a.relation, b.relation)
            for q in questions
            if q.suite != "world_compare"
            for a, b in zip(q.plan, q.plan[1:], strict=False)
        }

    new = {(kind, a, b) for kind, a, b in combinations(WORLD.split("test", "world_combo"))}
    assert len(new) >= 8
    assert new.isdisjoint(combinations(WORLD.split("train")))


# --- the whole


def test_the_world_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from tests.integration.tasks.test_world_splits import fingerprint; print(fingerprint())"
    env = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint()


def test_a_smaller_world_keeps_ids_and_splits() -> None:
    small = load_world(300)
    split_of = {q.text: (split, q.id) for split in SPLITS for q in WORLD.split(split)}
    common = [(split, q) for split in SPLITS for q in small.split(split) if q.text in split_of]
    assert len(common) > 5000
    same = sum(split_of[q.text] == (split, q.id) for split, q in common)
    assert same > 0.95 * len(common)


def test_load_world_builds_quickly_and_then_is_cached() -> None:
    load_world.cache_clear()
    start = time.process_time()
    first = load_world()
    assert time.process_time() - start < 10  # about 2.5 s on an idle core
    assert load_world() is first


def test_an_unknown_split_or_suite_is_named() -> None:
    with pytest.raises(KeyError, match="dev"):
        WORLD.split("dev")
    with pytest.raises(KeyError, match="nq"):
        WORLD.split("test", "nq")
    with pytest.raises(ValueError, match="-1"):
        load_world(-1)


def test_the_world_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        WORLD.held_out = frozenset()  # type: ignore[misc]
    with pytest.raises(TypeError):
        WORLD.questions["train"] = ()  # type: ignore[index]
