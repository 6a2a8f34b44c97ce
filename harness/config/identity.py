"""What makes two trials the same: a hash of the resolved configuration (seed included) and of the code.

The code version covers every module of `harness/` that can change a trial's numbers, compared as parsed syntax
without docstrings (so comments, docstrings and layout do not make finished trials stale), and the bytes of their
assets. Doors, driver, tracking and this package only start trials or look at them, and are left out; profiles are in
the resolved configuration already.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_OUTSIDE = frozenset(
    {
        "config",
        "profiles",
        "driver",
        "plan",
        "tracking",
        "redact.py",
        "evaluating",
        "baselines",
        "sweep.py",
        "run_trials.py",
        "evaluate.py",
        "ask.py",
    }
)
_ASSETS = frozenset({".safetensors", ".json", ".gz", ".txt", ".npz"})
_HARNESS = Path(__file__).resolve().parents[1]


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


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


def trial_key(config: dict[str, Any], code: str) -> str:
    """Identity of a trial: resolved configuration (plain data, seed included) and code version."""
    return digest({"config": config, "code": code})


@functools.cache
def code_version(root: Path = _HARNESS) -> str:
    """SHA-256 over the sources and assets under `root`, in hex."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if relative.parts[0] in _OUTSIDE or "__pycache__" in relative.parts or not path.is_file():
            continue
        if path.suffix == ".py":
            content = _syntax(path.read_text(encoding="utf-8")).encode()
        elif path.suffix in _ASSETS:
            content = path.read_bytes()
        else:
            continue
        total.update(f"{relative.as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def _syntax(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # a string that stands alone is documentation: of a module, class, function or attribute
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and _is_text(s.value))]  # type: ignore[attr-defined]
    return _written(tree)


def _written(node: Any) -> str:
    """The tree as text, as `ast.dump` but for fields that are empty: newer versions of Python have more of them."""
    if isinstance(node, list):
        return f"[{','.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={_written(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []]
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
