"""The questions of a trial, and what its environment finds passages with, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from harness.config import TrialConfig
from harness.env.turn_rewards import has_evidence
from harness.operators.base import Retriever
from harness.operators.operator_services import remote_retriever, world_retriever
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.operators.retrieval.corpus_index import file_retriever
from harness.paths import cache_folder
from harness.tasks.benchmarks import DataFolder, subset
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.own_task import IsRight, OwnTask
from harness.tasks.world import World, load_world
from harness.types import Question

DECOYS = 50_000
"""Titles that faults draw from, evenly spaced in a larger corpus."""


@dataclass(frozen=True)
class TrialData:
    """Training questions, evaluation questions by suite, and what Search finds passages with.

    `final`: those of the last step. `titles`: of the passages in `Question.supporting`, by id, where a warm start will
    search for them. `decoys`: titles that faults search for instead. `is_right`: the scoring of a task of one's own, in
    place of exact match.
    """

    train: tuple[Question, ...]
    evaluation: Mapping[str, tuple[Question, ...]]
    final: Mapping[str, tuple[Question, ...]]
    retriever: Retriever
    titles: Mapping[str, str]
    decoys: Sequence[str]
    is_right: IsRight | None = None


def load_trial_data(config: TrialConfig, *, training: bool = True) -> TrialData:
    """Training questions, the fixed evaluation questions of each suite, and what Search finds passages with.

    `training`: a folder has to hold questions of every training suite; they are optional where nothing is trained. A
    warm start trains. A corpus file is wanted where BM25 searches it, and where a warm start or a fault needs titles.

    Raises:
        DataError: where turn credit rewards evidence and no training question has any.
    """
    data = _loaded(config, training)
    if training and wants_evidence(config) and not any(map(has_evidence, data.train)):
        raise DataError(
            "objective.credit.source is evidence: no training question has a plan, or supporting passages in the corpus"
        )
    return data


def wants_evidence(config: TrialConfig) -> bool:
    """Whether turn credit reads the evidence that questions have."""
    return config.objective.credit is not None and config.objective.credit.source == "evidence"


def _loaded(config: TrialConfig, training: bool) -> TrialData:
    c = config.data
    if c.source == "files":
        return _of(config, *_from_files(config), training=training or config.policy.warm_start != "none")
    if c.source == "task":
        return _from_task(config, OwnTask(c.task or ""), training)
    world = load_world()
    titles = {p.id: p.title for p in world.passages}
    retriever = remote_retriever(config.environment.search.retriever) or world_retriever()
    return _of(config, world, retriever, titles, tuple(titles.values()))


def _of(
    config: TrialConfig,
    source: World | DataFolder | OwnTask,
    retriever: Retriever,
    titles: Mapping[str, str],
    decoys: Sequence[str],
    training: bool = True,
) -> TrialData:
    c = config.data
    suites = [s for s in c.train_suites if training or isinstance(source, World) or source.holds("train", s)]
    train = tuple(q for suite in suites for q in source.split("train", suite))
    train = subset(train, c.train_questions) if c.train_questions else train
    evaluation, final = (
        {s: subset(source.split(c.eval_split, s), n) for s in c.eval_suites}
        for n in (c.eval_questions, c.final_questions or c.eval_questions)
    )
    return TrialData(train, evaluation, final, retriever, titles, decoys)


def _from_task(config: TrialConfig, task: OwnTask, training: bool) -> TrialData:
    passages = task.passages()
    own = None if passages is None else BM25Retriever(passages)
    retriever = remote_retriever(config.environment.search.retriever) or own or world_retriever()
    titles = {p.id: p.title for p in (load_world().passages if passages is None else passages)}
    made = _of(config, task, retriever, titles, tuple(titles.values())[:DECOYS], training)
    return replace(made, is_right=task.is_right)


def _from_files(config: TrialConfig) -> tuple[DataFolder, Retriever, Mapping[str, str], Sequence[str]]:
    """A folder's questions, their retriever, titles and decoys. Without need of it, no corpus is read."""
    folder = DataFolder(Path(config.data.path or ""))
    faults, warm = config.environment.faults, config.policy.warm_start != "none"
    decoys: Sequence[str] = ()
    retriever = remote_retriever(config.environment.search.retriever)
    if retriever is None:
        retriever, passages = file_retriever(folder.corpus_file(), cache_folder() / "bm25")
        folder = replace(folder, ids_of=passages.ids_of)
        if faults is not None:
            decoys = [passages[i].title for i in range(0, len(passages), -(-len(passages) // DECOYS))]
    elif faults is not None and (folder.corpus_path is not None or "wrong_passage" in faults.kinds):
        decoys = [p.title for p in islice(folder.corpus(), DECOYS)]
    if not warm and not wants_evidence(config):  # no supporting passages are needed
        folder = replace(folder, ids_of=lambda titles: {})
    return folder, retriever, folder.supporting_titles(), decoys
