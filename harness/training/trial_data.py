"""The questions of a trial, and what its environment finds passages with, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from harness.config import TrialConfig
from harness.operators.base import Retriever
from harness.operators.operator_services import remote_retriever, world_retriever
from harness.operators.retrieval.corpus_index import file_retriever
from harness.paths import cache_folder
from harness.tasks.benchmarks import DataFolder, subset
from harness.tasks.world import World, load_world
from harness.types import Question

DECOYS = 50_000
"""Titles that faults draw from, evenly spaced in a larger corpus."""


@dataclass(frozen=True)
class TrialData:
    """Training questions, evaluation questions by suite, and what Search finds passages with.

    `titles`: of the passages in `Question.supporting`, by id, where a warm start will search for them. `decoys`: titles
    that faults search for instead.
    """

    train: tuple[Question, ...]
    evaluation: Mapping[str, tuple[Question, ...]]
    retriever: Retriever
    titles: Mapping[str, str]
    decoys: Sequence[str]


def load_trial_data(config: TrialConfig, *, training: bool = True) -> TrialData:
    """Training questions, the fixed evaluation questions of each suite, and what Search finds passages with.

    `training`: a folder has to hold questions of every training suite; they are optional where nothing is trained. A
    warm start trains. A corpus file is wanted where BM25 searches it, and where a warm start or a fault needs titles.
    """
    c = config.data
    if c.source == "files":
        return _of(config, *_from_files(config), training=training or config.policy.warm_start != "none")
    world = load_world()
    titles = {p.id: p.title for p in world.passages}
    retriever = remote_retriever(config.environment.search.retriever) or world_retriever()
    return _of(config, world, retriever, titles, tuple(titles.values()))


def _of(
    config: TrialConfig,
    source: World | DataFolder,
    retriever: Retriever,
    titles: Mapping[str, str],
    decoys: Sequence[str],
    training: bool = True,
) -> TrialData:
    c = config.data
    suites = [s for s in c.train_suites if training or isinstance(source, World) or source.holds("train", s)]
    train = tuple(q for suite in suites for q in source.split("train", suite))
    train = subset(train, c.train_questions) if c.train_questions else train
    evaluation = {s: subset(source.split(c.eval_split, s), c.eval_questions) for s in c.eval_suites}
    return TrialData(train, evaluation, retriever, titles, decoys)


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
    if not warm:  # no supporting passages are needed
        folder = replace(folder, ids_of=lambda titles: {})
    return folder, retriever, folder.supporting_titles(), decoys
