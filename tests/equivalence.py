"""Exact comparison of two folders of the same sweep, run by two revisions of the code, through a map of renames.

python -m tests.equivalence RUNS_BEFORE RUNS_AFTER [--renames tests/renames.json]

Compared, to the last digit: the trials' names; every line of `metrics.jsonl`, `events.jsonl` and `attempts.jsonl`; the
status and final metrics of `result.json`; every row of `episodes/*.parquet`. Left out: wall times, time stamps
and checksums, and an attempt's process, machine, packages and code version. Nothing of the harness is imported, so a
change there cannot hide itself. Exits with status 1 on any difference, or if there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

RENAMES = Path(__file__).with_name("renames.json")
SECTIONS = ("metrics", "columns", "events")
"""Of the map: names of metrics, of episode columns, and of journal events (kinds)."""
STAMPS = frozenset({"ts", "crc"})
TIME_METRICS = "time/"
TIME_COLUMNS = frozenset({"generate_s", "operate_s", "latency_s"})
SHOWN = 20

Names = Mapping[str, str]
Renames = Mapping[str, Names]


def read_renames(path: Path) -> Renames:
    """The map of renames, {section: {name before: name after}}. Raises ValueError unless each is one to one."""
    renames = json.loads(path.read_text())
    if set(renames) != set(SECTIONS):
        raise ValueError(f"{path}: sections {sorted(renames)}, expected {sorted(SECTIONS)}")
    for section, names in renames.items():
        if len(set(names.values())) != len(names):
            raise ValueError(f"{path}: two names of {section} become one")
    return renames


def renamed(record: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """`record` with its keys renamed. Raises ValueError if two become one."""
    after = {names.get(key, key): value for key, value in record.items()}
    if len(after) != len(record):
        raise ValueError(f"two of {sorted(record)} become one")
    return after


def metric_lines(path: Path, renames: Renames) -> list[Any]:
    """Lines of `metrics.jsonl` without time stamps, checksums and metrics of time."""
    return [{**line, "values": _metrics(line["values"], renames)} for line in _lines(path)]


def event_lines(path: Path, renames: Renames) -> list[Any]:
    """Lines of `events.jsonl`."""
    return [{**line, "kind": renames["events"].get(line["kind"], line["kind"])} for line in _lines(path)]


def attempt_lines(path: Path, renames: Renames) -> list[Any]:
    """Events of `attempts.jsonl`, in order."""
    return [renames["events"].get(line["event"], line["event"]) for line in _lines(path)]


def result_lines(path: Path, renames: Renames) -> list[Any]:
    """Status and final metrics of `result.json`, as one record."""
    result = json.loads(path.read_text())
    return [{"status": result["status"], "final": _metrics(result.get("final") or {}, renames)}]


def episode_rows(path: Path, renames: Renames) -> list[Any]:
    """Rows of an episode file without columns of time, at any depth."""
    return [_untimed(row, renames["columns"]) for row in pq.read_table(path).to_pylist()]


Read = Callable[[Path, Renames], list[Any]]
READERS: Mapping[str, Read] = {
    "metrics.jsonl": metric_lines,
    "events.jsonl": event_lines,
    "attempts.jsonl": attempt_lines,
    "result.json": result_lines,
    "episodes/*.parquet": episode_rows,
}


def compare_runs(before: Path, after: Path, renames: Renames) -> tuple[dict[str, int], list[str]]:
    """Records compared, by file pattern, and the differences, one sentence each.

    Args:
        before, after: folders of a sweep (which hold `trials/`).
        renames: from names of `before` to names of `after`.
    """
    counts = dict.fromkeys(READERS, 0)
    differences: list[str] = []
    old, new = _trials(before), _trials(after)
    differences += [f"trial {name}: only in {folder}" for name, folder in _unpaired(old, new, before, after)]
    nothing: Renames = {section: {} for section in SECTIONS}
    for name in sorted(old.keys() & new.keys()):
        for pattern, read in READERS.items():
            files, others = ({p.relative_to(t).as_posix(): p for p in t.glob(pattern)} for t in (old[name], new[name]))
            differences += [f"{name}/{file}: only in {t}" for file, t in _unpaired(files, others, before, after)]
            for file in sorted(files.keys() & others.keys()):
                x, y = read(files[file], renames), read(others[file], nothing)
                counts[pattern] += len(x)
                differences += [f"{name}/{file}: {difference}" for difference in different(x, y)]
    differences += [f"{pattern}: nothing to compare" for pattern in ("metrics.jsonl", "episodes/*.parquet")
                    if not counts[pattern]]  # fmt: skip
    return counts, differences


def different(x: Any, y: Any, place: str = "") -> Iterator[str]:
    """Each place where two JSON values differ, and both values. Types and digits count; NaN equals NaN."""
    if isinstance(x, dict) and isinstance(y, dict):
        for key in sorted(x.keys() | y.keys()):
            if key in x and key in y:
                yield from different(x[key], y[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}: only {'before' if key in x else 'after'}"
    elif isinstance(x, list) and isinstance(y, list):
        if len(x) != len(y):
            yield f"{place}: {len(x)} records before, {len(y)} after"
        for i, (a, b) in enumerate(zip(x, y, strict=False)):
            yield from different(a, b, f"{place}[{i}]")
    elif repr(x) != repr(y):
        yield f"{place}: {x!r} before, {y!r} after"


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, path.read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in STAMPS} for line in lines]


def _metrics(values: Mapping[str, Any], renames: Renames) -> dict[str, Any]:
    return renamed({k: v for k, v in values.items() if not k.startswith(TIME_METRICS)}, renames["metrics"])


def _untimed(value: Any, names: Names) -> Any:
    if isinstance(value, dict):
        kept = {key: _untimed(item, names) for key, item in value.items() if key not in TIME_COLUMNS}
        return renamed(kept, names)
    return [_untimed(item, names) for item in value] if isinstance(value, list) else value


def _trials(folder: Path) -> dict[str, Path]:
    """Trial folders by name, without the key's digits, which a change of the code may change."""
    return {path.name.rpartition("-")[0]: path for path in (folder / "trials").glob("*-*") if path.is_dir()}


def _unpaired(x: Mapping[str, Path], y: Mapping[str, Path], before: Path, after: Path) -> list[tuple[str, Path]]:
    return [(name, before if name in x else after) for name in sorted(x.keys() ^ y.keys())]


def main(arguments: list[str] | None = None) -> int:
    """Print the differences, or how much is identical. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.equivalence", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--renames", type=Path, default=RENAMES)
    given = parser.parse_args(arguments)
    counts, differences = compare_runs(given.before, given.after, read_renames(given.renames))
    for line in differences[:SHOWN]:
        print(line)
    if differences:
        print(f"{len(differences)} differences")
        return 1
    print("identical: " + ", ".join(f"{n} in {pattern}" for pattern, n in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
