"""Console command `workflow-harness VERB …`, also `python -m harness VERB …`: all command-line doors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from harness.paths import CONSOLE_COMMAND, command

VERBS = {
    "sweep": ("harness.sweep.__main__", "run every trial of a sweep file: train, evaluate, log, report"),
    "run-trials": ("harness.sweep.run_trials", "run prepared trials without Ray and MLflow, as in a batch job"),
    "replay": ("harness.tracking.__main__", "rebuild a sweep's MLflow runs from its journals"),
    "report": ("reports.build", "write a sweep's report: HTML, PDF, figures, tables"),
    "progress": ("analysis.progress", "Exact Match of each checkpoint before and after training"),
    "evaluate": ("harness.evaluate", "evaluate policies, trials and baselines"),
    "ask": ("harness.ask", "play one question, one episode, live"),
    "fault-demo": ("harness.evaluation.fault_demo", "show an episode with an injected fault and its counterfactual"),
    "data": ("harness.data", "prepare, verify and list question-answering benchmarks"),
    "serve-search": ("harness.operators.retrieval.server", "serve BM25 search over a corpus by HTTP"),
    "parser-benchmark": ("harness.protocol.reliability.benchmark", "boundary recovery by kind of malformation"),
    "calibrate": ("analysis.calibration.__main__", "simulate type-I error, power and coverage of every test in use"),
    "results": ("reports.packing.__main__", "keep a finished sweep as small data (in a checkout)"),
    "findings": ("reports.findings.__main__", "write FINDINGS.md from the kept results (in a checkout)"),
}
"""Verb: its module, whose `main(arguments)` returns the exit status, and one line of help."""
_WITH_VERB = frozenset({"replay"})
"""Verbs that the module's own parser has as a subcommand."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb's own parser; the exit status is that of the verb."""
    width = max(map(len, VERBS))
    parser = argparse.ArgumentParser(
        prog=command("", "harness"),
        description="Credit assignment in multi-turn RL agents: sweeps, evaluation, analysis, reports.",
        epilog="\n".join(["verbs:", *(f"  {verb:<{width}}  {line}" for verb, (_, line) in VERBS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="see below; VERB --help shows its arguments")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="…", help="arguments of the verb")
    options = parser.parse_args(arguments)
    name, _ = VERBS[options.verb]
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"harness", "analysis", "reports"}:
            raise
        print(f"{error.name} is not installed: pip install '{CONSOLE_COMMAND}[all]'", file=sys.stderr)
        return 2
    words = [options.verb, *options.rest] if options.verb in _WITH_VERB else options.rest
    status: int = module.main(words)
    return status


def _version() -> str:
    try:
        return version(CONSOLE_COMMAND)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
