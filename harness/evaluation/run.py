"""Runs an evaluation from its validated settings: play, score, store, log, print."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from rich.console import Console

from harness.config import canonical_json
from harness.config.evaluation import EvaluationSettings
from harness.config.metric_names import FAULTED
from harness.config.trust import service_lines
from harness.evaluation.baselines.methods import BASELINES
from harness.evaluation.play import SAMPLED, Answers, play_agent, play_baseline, settings_of
from harness.evaluation.scores import Contrast, Score, contrast, metrics, score
from harness.evaluation.storage import Answerer, evaluation_folder, held_out_in, write_answers, write_tables
from harness.evaluation.tables import fault_lines, print_contrasts, print_scores
from harness.evaluation.targets import Target
from harness.paths import command
from harness.policy.load import PolicyError, shipped_chat
from harness.runs.run import TrialRun
from harness.runs.staging import staged_folder
from harness.runs.sweep_folder import damaged_files
from harness.runs.symbolic_links import link_within
from harness.tasks.benchmarks import DataError
from harness.tracking.client import default_uri, foreign_place
from harness.tracking.evaluation_runs import EXPERIMENT, log_evaluation
from harness.tracking.hints import where_mlflow_is
from harness.training.trial_data import TrialData, load_trial_data
from harness.types import Diverged, OperatorFailure
from harness.types.redact import error_text, printable, redact

DONE, FAILED, REFUSED = 0, 1, 2
"""Exit statuses."""
SERVICE_FAILURES = frozenset(OperatorFailure) - {
    OperatorFailure.MISSING_INPUT,
    OperatorFailure.UNKNOWN_OPERATOR,
    OperatorFailure.EMPTY,
    OperatorFailure.PROGRAM_ERROR,
}
"""Operator failures that the answerer did not cause."""


def run_evaluation(settings: EvaluationSettings, targets: Sequence[Target], out: Path | None, console: Console) -> int:
    """Evaluate every method on every target. Returns the exit status."""
    _disable_progress_bars()
    answerers = name_answerers(settings, targets)
    for line in dict.fromkeys(line for t in targets for line in (*t.confirmed, *service_lines(t.config.environment))):
        _say(console, line)
    home = out or _home(targets)
    folder = evaluation_folder(home, settings, answerers)
    if (link := link_within(folder.parent, folder)) is not None:
        print(f"{link} is a symbolic link: no result is written through it; give --out FOLDER", file=sys.stderr)
        return REFUSED
    try:
        answers = _play_all(settings, answerers, console)
    except (PolicyError, DataError) as error:
        print(f"evaluation stopped: {error_text(error)}", file=sys.stderr)
        return FAILED
    except Diverged as error:
        print(f"evaluation stopped: {error}; are all weights of the policy finite?", file=sys.stderr)
        return FAILED
    scores: list[Score] = []
    for label, given in answers.items():
        for mode, episodes in given.by_mode().items():
            scores += score(label, mode, episodes, settings.level)
    contrasts = _contrasts(answerers, answers, settings.level)
    try:
        with staged_folder(folder) as staging:
            for a in answerers:
                own = metrics([s for s in scores if s.answerer == a.label])
                write_answers(staging, a, answers[a.label], own, held_out_in(a.target.config))
            write_tables(staging, settings, answerers, scores, contrasts, answers, folder.name)
    except OSError as error:
        print(f"results cannot be written: {error_text(error)}", file=sys.stderr)
        return FAILED
    _say(console, "")
    print_scores(console, scores, settings.level)
    if contrasts:
        _say(console, "")
        print_contrasts(console, contrasts, settings.level)
    _say(console, "")
    _say(console, "intervals are over questions: they describe these policies, not the algorithms that trained them")
    for label, given in answers.items():
        for line in fault_lines(label, given.variants[FAULTED], given.greedy) if FAULTED in given.variants else ():
            _say(console, line)
    for line in (*_unequal_operators(answerers, settings), *_failed_calls(answers)):
        _say(console, line)
    _say(console, f"scores, episodes: {folder}")
    _log(settings, folder, home, console)
    damaged = dict.fromkeys(line for a in answerers if a.target.home for line in damaged_files(TrialRun(a.target.home)))
    for line in damaged:
        print(f"damaged journal: {printable(line)}: of a target, not read by this evaluation", file=sys.stderr)
    return FAILED if damaged else DONE


def name_answerers(settings: EvaluationSettings, targets: Sequence[Target]) -> list[Answerer]:
    """Every method on every target, under unique names."""
    names: list[str] = []
    for t in targets:
        same = [u for u in targets if u.name == t.name]
        name = t.name if len(same) == 1 or t.step is None else f"{t.name}@{t.step}"
        names.append(name if name not in names else f"{name}#{len(names) + 1}")
    return [
        Answerer(method if len(targets) == 1 else f"{method} {name}", method, target)
        for target, name in zip(targets, names, strict=True)
        for method in settings.method
    ]


def _play_all(settings: EvaluationSettings, answerers: Sequence[Answerer], console: Console) -> dict[str, Answers]:
    """Answers by label. Baselines do not depend on the policy: targets with equal settings share one run of each."""
    data: dict[str, TrialData] = {}
    played: dict[str, Answers] = {}
    answers: dict[str, Answers] = {}
    for a in answerers:
        config = a.target.config
        torch.set_num_threads(config.threads)
        start = time.perf_counter()
        resolved = config.model_dump(mode="json")
        source = canonical_json([resolved["data"], config.policy.warm_start])
        if source not in data:
            data[source] = load_trial_data(config, training=False)
        with console.status(f"{a.label} …") if console.is_terminal else nullcontext():
            if a.method == "agent":
                answers[a.label] = play_agent(a.target, data[source])
            else:
                same = canonical_json([a.method, source, resolved["environment"]])
                if same not in played:
                    played[same] = play_baseline(a.method, config, settings, shipped_chat(), data[source])
                answers[a.label] = played[same]
        done = answers[a.label]
        n = sum(map(len, done.by_mode().values()))
        _say(console, f"{a.label}: {n} episodes in {time.perf_counter() - start:.1f} s")
    return answers


def _contrasts(answerers: Sequence[Answerer], answers: dict[str, Answers], level: float) -> list[Contrast]:
    """The first method against the others of the same target; with a single method, the first target against others."""
    pairs = []
    for a in answerers:
        first = next(b for b in answerers if b.target is a.target)
        if first is not a:
            pairs.append((first, a))
    if not pairs:
        pairs = [(answerers[0], b) for b in answerers[1:]]
    found = [
        contrast(mode, a.label, b.label, episodes, answers[b.label].by_mode().get(mode, ()), level)
        for a, b in pairs
        for mode, episodes in answers[a.label].by_mode().items()
        if mode != SAMPLED
    ]
    return [c for c in found if c is not None]


def _unequal_operators(answerers: Sequence[Answerer], settings: EvaluationSettings) -> list[str]:
    """A line for each baseline that calls operators outside the policy's pool."""
    lines: dict[str, None] = {}
    if "agent" not in settings.method:
        return []
    for a in answerers:
        how = settings_of(a.target.config, settings)
        extra = set(BASELINES[a.method].pool(how)) - set(how.operators) if a.method != "agent" else set()
        if extra:
            lines[f"{a.method} calls {', '.join(sorted(extra))}, which are not in the policy's pool"] = None
    return list(lines)


def _failed_calls(answers: Mapping[str, Answers]) -> list[str]:
    """A line for each answerer with operator calls that failed because of the service behind them."""
    lines = []
    for label, given in answers.items():
        results = [c for played in given.by_mode().values() for e in played for c in e.calls if c.fault is None]
        failed = Counter(c.failure.value for c in results if c.failure in SERVICE_FAILURES)
        if failed:
            kinds = ", ".join(f"{n} {kind}" for kind, n in failed.most_common())
            lines.append(f"{label}: {failed.total()} of {len(results)} operator results were failures ({kinds})")
    return lines


def _home(targets: Sequence[Target]) -> Path:
    """The output folder of the first target's sweep, `runs` for a policy without one."""
    home = targets[0].home
    return home.resolve().parents[2] if home is not None and home.resolve().parent.name == "trials" else Path("runs")


def _log(settings: EvaluationSettings, folder: Path, home: Path, console: Console) -> None:
    uri = settings.tracking.uri or default_uri(home)
    named = settings.tracking.uri is not None
    fault = None if named else foreign_place(uri, home, settings.tracking.experiment or EXPERIMENT)
    if fault is not None:
        print(f"MLflow was not written: {printable(fault)}; to write there: tracking.uri={uri}", file=sys.stderr)
        return
    try:
        for label, address in log_evaluation(folder, uri, settings.tracking.experiment, home):
            _say(console, f"MLflow: {label}: {where_mlflow_is(uri, address)}")
    except Exception as error:  # any error of the store: the results are on disk
        reason = " ".join(error_text(error).split())[:200]
        again = f"{command('replay', 'harness.tracking replay')} {folder}"
        print(f"MLflow could not be written: {reason}; to write it later: {again}", file=sys.stderr)


def _disable_progress_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _say(console: Console, line: str) -> None:
    console.print(printable(redact(line)), markup=False, highlight=False, soft_wrap=True)
