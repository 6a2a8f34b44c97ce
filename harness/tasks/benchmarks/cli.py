"""Question-answering benchmarks: prepare, verify, list.

    python -m harness.data prepare --out data                    # all benchmarks and the training mix, by download
    python -m harness.data prepare --out data --from downloads --benchmarks nq musique --no-training
    python -m harness.data verify data

Questions of one's own need no preparation: `data.path=FOLDER` with `mine.test.jsonl`, rows as
{"id": "1", "question": "…", "golden_answers": ["…"]}, and `data.eval_suites=[mine]`. Exit status: 0 done, 1 a failure,
in one line, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from harness.paths import command
from harness.tasks.benchmarks.catalog import BENCHMARKS, QUESTIONS_REPOSITORY, TRAINING_REPOSITORY
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.load import iter_question_rows
from harness.tasks.benchmarks.manifest import MANIFEST, is_verified, read_manifest
from harness.tasks.benchmarks.prepare import (
    TRAINING_OUTPUT,
    Advance,
    FileSource,
    HubSource,
    LocalSource,
    check_leaks,
    prepare,
)
from harness.tasks.boundary import printable_line


def print_line(console: Console, text: str, prefix: str = "") -> None:
    """One line as it is: names of files and folders are neither markup nor terminal control sequences."""
    console.print(Text.assemble((prefix, "red"), printable_line(text)), soft_wrap=True)


class ConsoleReporter:
    """Lines and progress bars on a terminal; lines only where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str) -> None:
        print_line(self._console, text)

    @contextmanager
    def task(self, name: str) -> Iterator[Advance]:
        described = TextColumn("{task.description}", markup=False)
        columns = (described, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            bar = progress.add_task(printable_line(name), total=None)
            yield lambda done, total: progress.update(bar, completed=done, total=total)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=command("data", "harness.data"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("prepare", help="write benchmarks and training mix in one layout; resumes")
    make.add_argument("--out", type=Path, required=True, help="folder to fill")
    make.add_argument("--from", dest="source", default="hub", metavar="hub|FOLDER", help="where from (default: hub)")
    make.add_argument("--revision", help="branch, tag or commit on the hub (default: main)")
    make.add_argument("--endpoint", help="a mirror of the hub (default: HF_ENDPOINT, or huggingface.co)")
    make.add_argument(
        "--benchmarks", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS), metavar="NAME",
        help=f"which benchmarks (default: {' '.join(BENCHMARKS)})",
    )  # fmt: skip
    make.add_argument("--no-training", action="store_true", help="leave out the NQ + HotpotQA training mix")
    make.add_argument("--corpus", action="store_true", help="the wiki-18 passages too (about 14 GB unpacked)")
    check = commands.add_parser("verify", help="compare a prepared folder with its manifest, training with test files")
    check.add_argument("folder", type=Path)
    commands.add_parser("list", help="the benchmarks, their splits, hops and licences")
    arguments = parser.parse_args(argv)
    if arguments.command == "prepare" and arguments.source != "hub":
        for option in ("revision", "endpoint"):
            if getattr(arguments, option) is not None:
                make.error(f"--{option} has no effect: the files come from {printable_line(arguments.source)}")
    return arguments


def _prepare(arguments: argparse.Namespace, console: Console) -> None:
    out: Path = arguments.out
    source: FileSource
    if arguments.source == "hub":
        source = HubSource(out / ".downloads", arguments.revision or "main", arguments.endpoint)
    else:
        source = LocalSource(Path(arguments.source))
    manifest = prepare(
        source,
        out,
        arguments.benchmarks,
        training=not arguments.no_training,
        corpus=arguments.corpus,
        reporter=ConsoleReporter(console),
    )
    for name, entry in manifest.files.items():
        licences = "; ".join(f"{of}: {licence}" for of, licence in entry.licences.items())
        print_line(console, f"{entry.sha256}  {name}  ({licences})")


def _verify(folder: Path, console: Console) -> None:
    """Raises DataError naming every file that differs from the manifest or was never read through, and training
    questions that leak."""
    manifest = read_manifest(folder)
    if not manifest.files:
        raise DataError(f"{folder / MANIFEST}: no prepared files; run prepare first")
    broken = [name for name, entry in manifest.files.items() if not is_verified(folder, name, entry)]
    if broken:
        raise DataError(f"{folder}: missing or changed since: {', '.join(broken)}; run prepare again")
    uncounted = [name for name, entry in manifest.files.items() if not entry.rows]
    if uncounted:  # by an earlier version, which read the first rows of a corpus alone
        raise DataError(f"{folder}: never read through: {', '.join(uncounted)}; run prepare again")
    if TRAINING_OUTPUT in manifest.files:
        rows = list(iter_question_rows(folder / TRAINING_OUTPUT))
        tests = [name for name in manifest.files if name.endswith(".test.jsonl.gz")]
        leaks = check_leaks(folder, rows, tests, ConsoleReporter(console))
        if leaks:
            first = leaks[0]
            raise DataError(
                f"{folder / TRAINING_OUTPUT}: {len(leaks)} training questions are test questions too, such as "
                f"{first.train} ({first.test}, by {first.kind}); run prepare again"
            )
    counts = ", ".join(f"{sum(entry.rows.values())} in {name}" for name, entry in manifest.files.items())
    print_line(console, f"{len(manifest.files)} files verified; rows: {counts}")


def _list(console: Console) -> None:
    table = Table("benchmark", "split", "hops", "licence")
    for benchmark in BENCHMARKS.values():
        table.add_row(benchmark.name, benchmark.split, str(benchmark.hops or "by question"), benchmark.licence)
    console.print(table)
    console.print(f"questions: {QUESTIONS_REPOSITORY}; training mix: {TRAINING_REPOSITORY}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 with one line of explanation on the error output."""
    arguments = _arguments(argv)
    console = Console()
    try:
        match arguments.command:
            case "prepare":
                _prepare(arguments, console)
            case "verify":
                _verify(arguments.folder, console)
            case _:
                _list(console)
    except (DataError, OSError) as error:
        print_line(Console(stderr=True), str(error), "error: ")
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; to resume: the same command", highlight=False)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
