"""Episodes of a sweep as two frames, read by column; texts are read only for the episodes of a gallery.

episodes  one row an episode
    trial, arm, split, suite, stop category · seed, step, index, question, sample_seed, hops (−1: unknown) int ·
    held_out int8 (−1: unknown) · em, f1, lenient, reward, reward_outcome, reward_format float32 ·
    failures int64 (bits, see `has_failure`) · faults, tokens, tokens_seen, n_turns, n_ok int
turns     one row a Think-Action unit, in order
    episode int (row number in `episodes`) · turn int (0 first) · ok bool · failures int64 (bits) ·
    action, operator, result_of, operator_failure, fault category (missing: none) · tokens int

`question` is a code: equal codes are the same question of the same suite in every trial of the load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.frames import Frames
from harness.config import metric_names
from harness.runs.episode_store import open_episodes
from harness.runs.run import TrialRun
from harness.types import ParseFailure

GREEDY_SPLIT, SAMPLED_SPLIT, TRAIN_SPLIT = metric_names.EVAL, metric_names.SAMPLED, "train"
FAULTED_SPLIT, COUNTERFACTUAL_SPLIT = metric_names.FAULTED, metric_names.TWIN
"""The same questions and sampling seeds with injected faults, and without. Without a counterfactual split the greedy
split serves as the counterpart."""
PROMPT_SPLITS = metric_names.PROMPTED
"""Prefix of splits evaluated under a prompt perturbation, e.g. eval_prompt_terse."""

FAILURE_KINDS = tuple(f.value for f in ParseFailure)
_BIT = {name: i for i, name in enumerate(FAILURE_KINDS)}

_SCALARS = [
    "question_id",
    "suite",
    "hops",
    "held_out",
    "index",
    "sample_seed",
    "stop",
    "em",
    "f1",
    "lenient",
    "reward",
    "reward_outcome",
    "reward_format",
    "faults",
    "tokens",
    "tokens_seen",
]
_FLOATS = ("em", "f1", "lenient", "reward", "reward_outcome", "reward_format")
_COUNTS = ("index", "faults", "tokens", "tokens_seen")
_NAMED = ("action", "operator", "result_of", "operator_failure", "fault")
_TURN = [f"turns.list.element.{c}" for c in ("failures", "tokens", *_NAMED)]


@dataclass(frozen=True)
class Episodes:
    """The frames `episodes` and `turns` (schema: module docstring). `source` maps (trial, step, split) to the file the
    rows came from."""

    episodes: pd.DataFrame
    turns: pd.DataFrame
    source: dict[tuple[str, int, str], Path]

    def of(self, mask: pd.Series | np.ndarray) -> Episodes:
        """The episodes under a boolean mask and their turns, renumbered."""
        keep = np.asarray(mask, dtype=bool)
        number = np.cumsum(keep) - 1
        owner = self.turns["episode"].to_numpy(dtype=np.int64)
        turns = self.turns[keep[owner]].reset_index(drop=True)
        turns["episode"] = number[owner[keep[owner]]]
        return Episodes(self.episodes[keep].reset_index(drop=True), turns, self.source)

    def split(self, name: str) -> Episodes:
        """Episodes of one split."""
        return self.of(self.episodes["split"] == name)

    def turn_frame(self, *columns: str) -> pd.DataFrame:
        """Turns with these columns of their episodes attached."""
        owner = self.turns["episode"].to_numpy()
        return self.turns.assign(**{c: self.episodes[c].array[owner] for c in columns})


def has_failure(bits: pd.Series, kind: str | ParseFailure) -> pd.Series:
    """Whether a `failures` column contains a kind."""
    return (bits.to_numpy() >> _BIT[str(kind)] & 1).astype(bool)


class _Codes:
    """Encoder of strings as small integers, consistent over all files."""

    def __init__(self) -> None:
        self.code: dict[Any, int] = {}

    def encode(self, column: pa.Array, prefix: str = "") -> np.ndarray:
        """int32 codes, −1 for null."""
        if column.null_count == len(column):
            return np.full(len(column), -1, dtype=np.int32)
        table = column.dictionary_encode()
        words = [prefix + w for w in table.dictionary.to_pylist()]
        lookup = np.array([self.code.setdefault(w, len(self.code)) for w in words] + [-1], dtype=np.int32)
        return lookup[table.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]

    def category(self, codes: np.ndarray) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, categories=list(self.code))


def files_of(frames: Frames, splits: Sequence[str] | None = None) -> Iterator[tuple[str, int, str, Path]]:
    """(trial, step, split, file) of the included trials, in order of trial, step and split.

    A split ending in "_" is a prefix: it matches all splits that start with it.
    """
    if frames.path is None:
        return
    for trial in frames.trials.loc[frames.trials["included"], "trial"]:
        for step, split, path in TrialRun(frames.path / "trials" / trial).episode_files():
            if splits is None or any(split == s or (s.endswith("_") and split.startswith(s)) for s in splits):
                yield trial, step, split, path


def load_episodes(
    frames: Frames, splits: Sequence[str] | None = None, steps: Sequence[int] | None = None, last_only: bool = False
) -> Episodes:
    """Read episodes of the included trials. `last_only`: of each trial and split the latest step only.

    An unreadable file, or one with an unscored episode, raises ValueError with its name: no analysis silently drops
    data.
    """
    files = [f for f in files_of(frames, splits) if steps is None or f[1] in steps]
    if last_only:
        latest: dict[tuple[str, str], tuple[str, int, str, Path]] = {}
        for file in files:
            latest[file[0], file[2]] = file
        files = list(latest.values())
    labels = frames.trials.set_index("trial")[["arm", "seed"]]
    books = {name: _Codes() for name in ("trial", "arm", "split", "suite", "stop", "question", *_NAMED)}
    parts: list[dict[str, np.ndarray]] = []
    turn_parts: list[dict[str, np.ndarray]] = []
    total = 0
    for trial, step, split, path in files:
        try:
            table = open_episodes(path).read(columns=[*_SCALARS, "failures", *_TURN]).combine_chunks()
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{trial}/{path.parent.name}/{path.name}: not readable ({error})") from error
        if not table.num_rows:
            continue
        n = table.num_rows
        part = _episode_columns(table, books)
        if np.isnan(part["em"]).any():
            raise ValueError(
                f"{trial}/{path.parent.name}/{path.name}: {int(np.isnan(part['em']).sum())} episodes have no EM"
            )
        for name, value in (("trial", trial), ("split", split), ("arm", labels.at[trial, "arm"])):
            part[name] = np.full(n, books[name].code.setdefault(value, len(books[name].code)), dtype=np.int32)
        part["seed"] = np.full(n, labels.at[trial, "seed"], dtype=np.int32)
        part["step"] = np.full(n, step, dtype=np.int32)
        turns = _turn_columns(table.column("turns").chunk(0), books, total)
        counts = np.bincount(turns["episode"] - total, minlength=n)
        part["n_turns"] = counts.astype(np.int16)
        part["n_ok"] = np.bincount(turns["episode"] - total, weights=turns["ok"], minlength=n).astype(np.int16)
        parts.append(part)
        turn_parts.append(turns)
        total += n
    for arm in frames.arms:  # arms keep their display order as categories
        books["arm"].code.setdefault(arm, len(books["arm"].code))
    episodes = _join(parts, books, EPISODE_COLUMNS)
    if total:
        episodes["arm"] = episodes["arm"].cat.set_categories(list(frames.arms))
    return Episodes(
        episodes, _join(turn_parts, books, TURN_COLUMNS), {(t, step, split): p for t, step, split, p in files}
    )


EPISODE_COLUMNS = [
    "trial",
    "arm",
    "seed",
    "step",
    "split",
    "index",
    "question",
    "suite",
    "hops",
    "held_out",
    "sample_seed",
    "stop",
    "em",
    "f1",
    "lenient",
    "reward",
    "reward_outcome",
    "reward_format",
    "failures",
    "faults",
    "tokens",
    "tokens_seen",
    "n_turns",
    "n_ok",
]
TURN_COLUMNS = ["episode", "turn", "ok", "failures", "tokens", *_NAMED]


def _join(parts: list[dict[str, np.ndarray]], books: dict[str, _Codes], columns: list[str]) -> pd.DataFrame:
    out: dict[str, Any] = {}
    for name in columns:
        values = np.concatenate([p.pop(name) for p in parts]) if parts else np.zeros(0, dtype=np.int32)
        out[name] = books[name].category(values) if name in books and name != "question" else values
    return pd.DataFrame(out, copy=False)


def _numbers(column: pa.ChunkedArray, dtype: Any, missing: float = -1) -> np.ndarray:
    return column.combine_chunks().fill_null(missing).to_numpy(zero_copy_only=False).astype(dtype)


def _episode_columns(table: pa.Table, books: dict[str, _Codes]) -> dict[str, np.ndarray]:
    part = {name: _numbers(table.column(name), np.float32, np.nan) for name in _FLOATS}
    part |= {name: _numbers(table.column(name), np.int32) for name in _COUNTS}
    part["hops"] = _numbers(table.column("hops"), np.int16)
    part["sample_seed"] = _numbers(table.column("sample_seed"), np.int64)
    held = table.column("held_out").combine_chunks().cast(pa.int8())
    part["held_out"] = held.fill_null(-1).to_numpy(zero_copy_only=False)
    for name in ("suite", "stop"):
        part[name] = books[name].encode(_flat(table.column(name)))
    suites, ids = table.column("suite").to_pylist(), table.column("question_id").to_pylist()
    # Ids need be unique within a suite only.
    part["question"] = books["question"].encode(pa.array([f"{s}\0{q}" for s, q in zip(suites, ids, strict=True)]))
    part["failures"] = _bits(_flat(table.column("failures")))
    return part


def _turn_columns(turns: pa.ListArray, books: dict[str, _Codes], first: int) -> dict[str, np.ndarray]:
    counts = turns.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    inner = turns.flatten()
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    bits = _bits(inner.field("failures"))
    part = {
        "episode": first + np.repeat(np.arange(counts.size, dtype=np.int32), counts),
        "turn": (np.arange(counts.sum()) - starts).astype(np.int16),
        "ok": bits == 0,
        "failures": bits,
        "tokens": inner.field("tokens").fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32),
    }
    for name in _NAMED:
        part[name] = books[name].encode(inner.field(name)).astype(np.int16)
    return part


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _bits(lists: pa.ListArray) -> np.ndarray:
    """Lists of failure names → int64 with a bit each. Raises ValueError for a name that the vocabulary lacks."""
    counts = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    out = np.zeros(len(lists), dtype=np.int64)
    flat = lists.flatten()
    if len(flat):
        table = flat.dictionary_encode()
        unknown = sorted(set(table.dictionary.to_pylist()) - set(_BIT))
        if unknown:
            raise ValueError(f"unknown parse failure {unknown[0]!r}")
        bit = np.array([1 << _BIT[w] for w in table.dictionary.to_pylist()], dtype=np.int64)
        owner = np.repeat(np.arange(len(lists)), counts)
        np.bitwise_or.at(out, owner, bit[table.indices.to_numpy(zero_copy_only=False)])
    return out


def read_rows(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Whole episodes of a file, texts included, by their `index`, in the order of `rows`."""
    table = open_episodes(path).read()
    index = {int(i): row for row, i in enumerate(table.column("index").to_pylist())}
    return [table.slice(index[i], 1).to_pylist()[0] for i in rows]
