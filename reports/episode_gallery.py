"""Gallery of whole episodes by kind: recovered, looped, lazily answered, malformed. Chosen by a fixed rule.

Of each kind the first episodes in the order trial, step, split, index are shown, so the choice is deterministic.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.episode_frames import FAILURE_KINDS, FAULTED_SPLIT, Episodes, has_failure, read_rows

EPISODES_PER_KIND = 2
"""Episodes shown of a kind."""


@dataclass(frozen=True)
class Specimen:
    """One episode: the kind it stands for, its origin, and its row with texts."""

    kind: str
    arm: str
    seed: int
    step: int
    split: str
    row: dict[str, Any]


def choose_specimens(data: Episodes, each: int = EPISODES_PER_KIND) -> list[Specimen]:
    """Up to `each` episodes of every kind that `data` holds."""
    found: list[Specimen] = []
    taken: set[int] = set()
    for kind, candidates in _kinds(data):
        chosen: list[Specimen] = []
        for position in candidates:
            if len(chosen) == each:
                break
            if int(position) in taken:
                continue
            specimen = _read(data, int(position), kind)
            if kind == "looped" and not _loops(specimen.row):
                continue
            taken.add(int(position))
            chosen.append(specimen)
        found += chosen
    return found


def _kinds(data: Episodes) -> Iterator[tuple[str, np.ndarray]]:
    """(kind, candidate positions in order)."""
    frame = data.episodes
    right = (frame["em"] == 1).to_numpy()
    calls = np.bincount(
        data.turns["episode"].to_numpy()[data.turns["operator"].notna().to_numpy()], minlength=len(frame)
    )
    faulted = ((frame["faults"] > 0) & (frame["split"] == FAULTED_SPLIT)).to_numpy()
    malformed = (frame["n_ok"] < frame["n_turns"]).to_numpy()
    yield "recovered from an injected fault", np.flatnonzero(faulted & right)
    yield "misled by an injected fault", np.flatnonzero(faulted & ~right)
    yield "recovered from a malformed turn", np.flatnonzero(malformed & right & ~faulted)
    yield "looped", np.flatnonzero(frame["n_turns"].to_numpy() >= 3)[:2000]
    lazy = (frame["failures"] == 0).to_numpy() & ~right & (calls == 0)
    yield "answered lazily", np.flatnonzero(lazy)
    for kind in FAILURE_KINDS:
        hit = has_failure(frame["failures"], kind)
        if hit.any():
            yield f"parse failure: {kind.replace('_', ' ')}", np.flatnonzero(hit & ~right)
    yield "right without a failure", np.flatnonzero((frame["failures"] == 0).to_numpy() & right & ~faulted)


def _loops(row: dict[str, Any]) -> bool:
    from harness.env.diagnostics import loops
    from harness.runs.episode_loader import trajectory

    return bool(loops(trajectory(row)))


def _read(data: Episodes, position: int, kind: str) -> Specimen:
    e = data.episodes.iloc[position]
    path: Path = data.source[str(e["trial"]), int(e["step"]), str(e["split"])]
    return Specimen(
        kind, str(e["arm"]), int(e["seed"]), int(e["step"]), str(e["split"]), read_rows(path, [int(e["index"])])[0]
    )


def episode_card(specimen: Specimen) -> str:
    """HTML card: question, gold, then the turns with think, action and observation separated and faults marked."""
    row, esc = specimen.row, html.escape
    verdict = "right" if row["em"] == 1 else "wrong"
    where = f"{specimen.arm}, seed {specimen.seed}, step {specimen.step}, {specimen.split}"
    reward = f"reward {row['reward']:+.1f} = {row['reward_outcome']:+.1f} outcome {row['reward_format']:+.1f} format"
    head = (
        f"<summary><b>{esc(specimen.kind)}</b> <span class='tag {verdict}'>{verdict}</span> "
        f"<span class='where'>{esc(where)} · {esc(row['suite'])}</span></summary>"
        f"<p class='q'>{esc(row['question'])}</p><p class='gold'>gold: {esc(' | '.join(row['gold']))} · {reward}</p>"
    )
    own = [f for f in row["failures"] if f not in {g for t in row["turns"] for g in t["failures"]}]
    tail = f"<p>{_tags(own)}</p>" if own else ""
    turns = "".join(_turn(i, t, esc) for i, t in enumerate(row["turns"], 1))
    return f"<details class='card'>{head}<ol>{turns}</ol>{tail}</details>"


def _tags(failures: list[str]) -> str:
    return " ".join(f"<span class='tag bad'>{html.escape(f.replace('_', ' '))}</span>" for f in failures)


def _turn(number: int, turn: dict[str, Any], esc: Callable[[str], str]) -> str:
    text, think = turn["text"], turn["think"]
    if think is not None and think in text:
        before, _, after = text.partition(think)
        body = f"{esc(before)}<span class='think'>{esc(think)}</span><span class='act'>{esc(after)}</span>"
    else:
        body = f"<span class='act'>{esc(text)}</span>"
    marks = _tags(turn["failures"])
    if turn["operator_failure"]:
        marks += f" <span class='tag bad'>operator: {esc(turn['operator_failure'].replace('_', ' '))}</span>"
    parts = [f"<div class='unit'>{body} {marks}</div>"]
    if turn["observation"] is not None:
        fault = ""
        if turn["fault"]:
            fault = (
                f"<span class='tag fault'>injected: {esc(turn['fault'].replace('_', ' '))}</span>"
                f"<details class='truth'><summary>true result</summary>{esc(turn['fault_true_text'] or '')}</details>"
            )
        source = f"<span class='src'>{esc(turn['result_of'] or '')}</span>"
        parts.append(
            f"<div class='obs{' faulted' if turn['fault'] else ''}'>{source} {esc(turn['observation'])}{fault}</div>"
        )
    return f"<li value='{number}'>{''.join(parts)}</li>"
