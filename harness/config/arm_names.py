"""Names of axes, arms and trials: short, unique, and safe where they become file names.

An arm is a cell of a sweep's grid, whatever its seed. Its label stands in every table, legend and contrast; a trial's
name is that of its folder and contains nothing but ASCII.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.identity import canonical_json

LABEL_CHARS = 28
"""Columns of a label: two of them and a minus sign are a contrast of fewer than 60."""
SLUG_CHARS = 48
_LEAST_CHARS = 5
"""Of one value in a label of several; where there is less room, labels are numbered."""

Settings = Mapping[str, Any]
"""Values of the swept settings, as the sweep file writes them."""


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted name, longer where two would be the same."""
    labels: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        for take in range(1, len(parts) + 1):
            label = ".".join(parts[-take:])
            if sum(other == label or other.endswith("." + label) for other in names) == 1:
                break
        labels[name] = label
    return labels


def columns_of(text: str) -> int:
    """Columns of a text on a terminal: wide characters take two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def cut_text(text: str, columns: int) -> str:
    """`text`, or its beginning and end with … between, in at most `columns` columns."""
    if columns_of(text) <= columns:
        return text
    head, tail = "", ""
    for i in range(len(text)):  # characters are taken from both ends in turn, two from the front to one from the back
        grown = (head + text[len(head)], tail) if i % 3 < 2 else (head, text[-1 - len(tail)] + tail)
        if columns_of(grown[0] + grown[1]) > columns - 1:
            break
        head, tail = grown
    return f"{head}…{tail}"


def value_text(value: Any) -> str:
    """A value of a swept setting for readers."""
    if value is None or (isinstance(value, Mapping | list | tuple) and not value):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{k}={value_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "+".join(value_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def full_label(settings: Settings) -> str:
    """The bare value for one axis, `last-word=value` pairs for several; of any length, not always unique."""
    if not settings:
        return "all"
    if len(settings) == 1:
        return value_text(next(iter(settings.values())))
    names = short_names(list(settings))
    return ", ".join(f"{names[n]}={value_text(v)}" for n, v in settings.items())


def arm_labels(arms: Sequence[Settings], given: Mapping[str, Settings] | None = None) -> list[str]:
    """A label for each arm, in order: unique, at most LABEL_CHARS columns. Equal settings have equal labels.

    `given` (label → the values it stands for) first; otherwise the full labels if all of them do, the values alone if
    those do, and at last abbreviated values, numbered where they still agree.
    """
    keys = [settings_key(arm) for arm in arms]
    unique = dict(zip(keys, arms, strict=True))
    found: dict[str, str] = {}
    for name, rule in (given or {}).items():
        matched = [key for key, arm in unique.items() if _matches(arm, rule)]
        found |= dict.fromkeys(matched, name) if len(matched) == 1 else {}
    rest = {key: arm for key, arm in unique.items() if key not in found}
    taken = set(found.values())
    styles = (full_label, values_label, lambda arm: _abbreviated(arm, list(unique.values())))
    for style in styles:
        made = {key: style(arm) for key, arm in rest.items()}
        if len({*made.values(), *taken}) == len(made) + len(taken) and all(map(_fits, made.values())):
            break
    for i, key in enumerate(rest):
        label, n = made[key], Counter(made.values())[made[key]]
        if n > 1 or label in taken or not _fits(label):
            mark = f"#{i + 1} "
            label = mark + cut_text(label, LABEL_CHARS - len(mark))
        while label in taken:  # only a given label can be in the way
            label = f"{cut_text(label, LABEL_CHARS - 1)}'"
        taken.add(label)
        found[key] = label
    return [found[key] for key in keys]


def _fits(label: str) -> bool:
    return columns_of(label) <= LABEL_CHARS


def _matches(arm: Settings, rule: Settings) -> bool:
    """Whether the arm has the rule's values; settings that do not vary are in no arm."""
    return all(settings_key(arm[name]) == settings_key(value) for name, value in rule.items() if name in arm)


def settings_key(value: Any) -> str:
    """A text that is equal for equal values of one type: 1, 1.0, true and "1" differ."""
    return json.dumps(value, sort_keys=True, default=str)


def values_label(settings: Settings) -> str:
    """Texts alone, other values with the last word of their axis."""
    names = short_names(list(settings))
    return ", ".join(v if isinstance(v, str) else f"{names[n]}={value_text(v)}" for n, v in settings.items())


def _abbreviated(settings: Settings, arms: Sequence[Settings]) -> str:
    """Every value cut to an equal share of the label. Values of one axis that agree when cut keep a number."""
    room = (LABEL_CHARS - 2 * (len(settings) - 1)) // max(1, len(settings))
    parts = []
    for axis, value in settings.items():
        texts = list(dict.fromkeys(value_text(arm.get(axis)) for arm in arms))
        cut = [cut_text(text, max(room, _LEAST_CHARS)) for text in texts]
        at = texts.index(value_text(value))
        if cut.count(cut[at]) > 1:
            mark = f"…{cut[: at + 1].count(cut[at])}"
            cut[at] = cut_text(texts[at], max(room, _LEAST_CHARS) - len(mark)).rstrip("…") + mark
        parts.append(cut[at])
    return ", ".join(parts)


def trial_name(axes: Settings, seed: int, labels: Mapping[str, str]) -> str:
    """Readable and safe as a file name: text values alone, others with the short name of their axis. `labels`: the
    short names of the axes."""
    parts = [v if isinstance(v, str) else f"{labels[n]}-{_flat(v)}" for n, v in axes.items()]
    return "_".join([*([slug("_".join(parts))] if parts else []), f"seed{seed}"])


def trial_names(trials: Sequence[tuple[Settings, int]], labels: Mapping[str, str]) -> list[str]:
    """`trial_name` of each (axes, seed), with a hash of the axes where two would be the same."""
    names = [trial_name(axes, seed, labels) for axes, seed in trials]
    counts = Counter(names)
    marks = [hashlib.sha256(settings_key(axes).encode()).hexdigest()[:8] for axes, _ in trials]
    return [name if counts[name] == 1 else f"{mark}_{name}" for name, mark in zip(names, marks, strict=True)]


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).replace('"', "")


def slug(text: str) -> str:
    """ASCII letters, digits and `._-` of a text, accents removed; where that loses something, a hash tells it from
    others: the empty text alone gives the empty slug."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    kept = safe[:SLUG_CHARS].strip("-.")
    if kept == text:
        return kept
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{kept.rstrip('_')}-{mark}".lstrip("-_")
