"""Storage of an evaluation in the layout of a sweep: every answerer is a trial without training.

    <out>/evaluations/<name>-<key8>/sweep.yaml             its settings
    …/trials/<answerer>-<key8>/                            config.yaml, trial.json and a journal, as a trial has them
    …/scores.csv, contrasts.csv, episodes.csv              the printed tables in full, and one row for each episode

So `analysis.load.load_frames` and `python -m reports.build` read it like any sweep; `method` is an axis.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis.csv_text import csv_cell
from analysis.stats.types import Estimate
from harness.config import TrialConfig, code_version, digest
from harness.config.evaluation import EvaluationSettings, Method
from harness.config.metric_names import FAULTED, TWIN
from harness.env.diagnostics import operators_called
from harness.evaluation.play import Answers
from harness.evaluation.scores import Contrast, Score
from harness.evaluation.targets import Target
from harness.runs.journal import Journal
from harness.runs.jsonl import write_atomically
from harness.runs.records import TrialInfo
from harness.runs.run import TrialRun
from harness.sweep.code_versions import source_revision
from harness.tracking.evaluation_runs import EvaluatedPolicy
from harness.types import Question, Trajectory


@dataclass(frozen=True, slots=True)
class Answerer:
    """A method applied to a target, under one name in all tables."""

    label: str
    method: Method
    target: Target


def evaluation_folder(out: Path, settings: EvaluationSettings, answerers: Sequence[Answerer]) -> Path:
    """Folder of an evaluation; repeating it replaces the whole folder."""
    identity = [settings.model_dump(mode="json"), [_plain(a) for a in answerers]]
    name = settings.name or "+".join(dict.fromkeys(a.target.name for a in answerers))[:60]
    return out / "evaluations" / f"{_safe(name)}-{digest(identity)[:8]}"


def write_answers(
    folder: Path, answerer: Answerer, answers: Answers, metrics: Mapping[str, float], held_out: Any
) -> None:
    """Write one answerer's journal and episodes. Raises OSError."""
    plain, code = _plain(answerer), code_version()
    key = digest({"evaluation": plain, "code": code})
    place = folder / "trials" / f"{_safe(answerer.label)}-{key[:8]}"
    run = TrialRun(place)
    axes = {"method": answerer.method, "evaluated": arm_of(answerer.target)}
    labels, config = {name: name for name in axes}, answerer.target.config
    resolved, revision = config.model_dump(mode="json"), source_revision()
    info = TrialInfo(key, answerer.label, axes, labels, config.seed, code, resolved, revision=revision)
    run.write_info(info, plain)
    with Journal(place, held_out=held_out) as journal:
        step = answerer.target.step or 0
        journal.episodes(step, "eval", answers.greedy)
        if answers.sampled:
            journal.episodes(step, "eval_sampled", answers.sampled)
        for split, episodes in answers.variants.items():
            journal.episodes(step, split, episodes)
        if FAULTED in answers.variants:
            journal.episodes(step, TWIN, answers.greedy)
        journal.metrics(step, metrics)
        journal.finish(key, metrics)


def write_tables(
    folder: Path,
    settings: EvaluationSettings,
    answerers: Sequence[Answerer],
    scores: Sequence[Score],
    contrasts: Sequence[Contrast],
    answers: Mapping[str, Answers],
    name: str,
) -> None:
    """Write `sweep.yaml` of the evaluation `name`, and the CSV files. Raises OSError."""
    axes: dict[str, dict[str, list[str]]] = {
        "method": {"values": list(dict.fromkeys(a.method for a in answerers))},
        "evaluated": {"values": list(dict.fromkeys(arm_of(a.target) for a in answerers))},
    }
    sweep = {
        "name": name,
        "hypothesis": "none: an evaluation of policies that are trained already",
        "parameters": axes,
        "seeds": sorted({a.target.config.seed for a in answerers}),
        "evaluation": settings.model_dump(mode="json"),
        "targets": [_provenance(a) for a in answerers],
    }
    write_atomically(folder / "sweep.yaml", yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True).encode())
    write_atomically(folder / "scores.csv", _csv(map(_score_row, scores)))
    write_atomically(folder / "contrasts.csv", _csv(map(_contrast_row, contrasts)))
    rows = (
        {"answerer": name, "mode": mode} | _episode_row(e)
        for name, a in answers.items()
        for mode, episodes in a.by_mode().items()
        for e in episodes
    )
    write_atomically(folder / "episodes.csv", _csv(rows))


def arm_of(target: Target) -> str:
    """A target's name without its seed: trials of one arm differ in nothing else."""
    return re.sub(r"_seed\d+$", "", target.name)


def held_out_in(config: TrialConfig) -> Any:
    """Predicate of questions of the offline world about held-out entities; None for other data."""
    if config.data.source != "world":
        return None

    def held_out(question: Question) -> bool:
        from harness.tasks.world import load_world

        return load_world().is_held_out_entity(question)

    return held_out


def _provenance(answerer: Answerer) -> dict[str, Any]:
    target = answerer.target
    folder, home = (str(place) if place else None for place in (target.folder, target.home))
    return asdict(EvaluatedPolicy(answerer.label, target.name, folder, target.trial_key, target.step, home))


def _plain(answerer: Answerer) -> dict[str, Any]:
    config = answerer.target.config.model_dump(mode="json")
    return {**config, "method": answerer.method, "evaluated": arm_of(answerer.target), "step": answerer.target.step}


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "evaluation"


def _csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: csv_cell(value) for name, value in row.items()})
    return text.getvalue().encode()


def _ends(name: str, estimate: Estimate) -> dict[str, float | None]:
    interval = estimate.interval
    ends = (interval.low, interval.high) if interval else (None, None)
    return {name: estimate.value, f"{name}_low": ends[0], f"{name}_high": ends[1]}


def _score_row(s: Score) -> dict[str, Any]:
    return {
        "answerer": s.answerer,
        "mode": s.mode,
        "scope": s.scope,
        "name": s.name,
        "questions": s.questions,
        "episodes": s.episodes,
        **_ends("em", s.em),
        **_ends("f1", s.f1),
        **_ends("lenient", s.lenient),
        "reward": s.reward,
        "format_ok": s.format_ok,
        "calls": s.calls,
        "operator_tokens": s.operator_tokens,
        "operator_failures": s.operator_failures,
        "struck": s.struck,
    }


def _contrast_row(c: Contrast) -> dict[str, Any]:
    row = {"mode": c.mode, "answerer": c.answerer, "against": c.against, **_ends("em_difference", c.em), "p": c.test.p}
    return row | {"p_mcnemar": c.exact.p, "questions": c.em.n}


def _episode_row(e: Trajectory) -> dict[str, Any]:
    called = [name for t in e.turns for name in operators_called(t)]
    return {
        "question_id": e.question.id,
        "suite": e.question.suite,
        "hops": e.question.hops,
        "question": e.question.text,
        "gold": " | ".join(e.question.answers),
        "answer": e.reward.answer,
        "em": e.reward.em,
        "f1": e.reward.f1,
        "lenient": e.reward.lenient,
        "reward": e.reward.total,
        "stop": e.stop.value,
        "turns": len(e.turns),
        "operators": " ".join(called),
        "failures": " ".join(f.value for f in e.failures),
        "faults": sum(len(t.faults) for t in e.turns),
        "sample_seed": e.sample_seed,
    }
