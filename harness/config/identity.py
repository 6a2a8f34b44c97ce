"""Identity of a trial: canonical JSON and hashes of resolved configurations (the code's is in `code_version.py`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


REGISTERED = ("hypothesis", "analysis", "seeds")
REGISTERED_WHERE_USED = ("branch", "tuning")
"""Parts of a sweep file that are the registered plan; of the second, those that a file has."""


def registered_hash(sweep: Mapping[str, Any]) -> str:
    """Hash of the registered plan of a sweep file (plain data)."""
    used = {name: sweep[name] for name in REGISTERED_WHERE_USED if sweep.get(name) is not None}
    return digest({name: sweep.get(name) for name in REGISTERED} | used)


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> {"a.b": leaf}; lists are leaves."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def varied(trees: Iterable[dict[str, Any]]) -> list[str]:
    """The dotted names of leaves that are not there, with one value, in every tree; sorted."""
    first, *others = map(flatten, trees)
    differ: set[str] = set()
    for other in others:
        differ |= first.keys() ^ other.keys()
        differ |= {name for name in first.keys() & other.keys() if first[name] != other[name]}
    return sorted(differ)


def trial_key(config: dict[str, Any], code: str, own: Mapping[str, str] = MappingProxyType({})) -> str:
    """Identity of a trial: resolved configuration (plain data, seed included), code version, and the digests of one's
    own code by setting (`own_code`)."""
    return digest({"config": config, "code": code} | ({"own": dict(own)} if own else {}))
