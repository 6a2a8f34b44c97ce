"""Identity of the code behind a trial's numbers: a hash of what modules contain, wherever they lie.

Covers every module of `harness/` that can change a trial's numbers, compared as parsed syntax without docstrings and
comments, and the bytes of their assets. A module that is moved, with its imports rewritten, hashes the same: an import
counts as the content of the module that defines the name, not as a path. Doors, paths, sweep, tracking and
configuration only start trials or read them and are left out (the resolved configuration is part of a trial's key
already).
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_OUTSIDE = frozenset(
    {"config", "integrations", "tracking", "evaluation", "sweep", "redact.py", "paths.py"}
    | {"__main__.py", "evaluate.py", "ask.py", "data.py"}
)
_ASSETS = frozenset({".safetensors", ".json", ".gz", ".txt", ".npz"})
_HARNESS = Path(__file__).resolve().parents[1]
_ELSEWHERE = "outside"
"""Stands for a module whose content does not count."""


@functools.cache
def code_version(root: Path = _HARNESS) -> str:
    """SHA-256 over the contents of sources and assets under `root`, in hex, whatever the names of files and folders."""
    modules = _Modules(root)
    parts = [modules.content(name) for name in modules.trees]
    parts += [f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in _files(root, _ASSETS)]
    return hashlib.sha256("\n".join(sorted(part for part in parts if part)).encode()).hexdigest()


def _files(root: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.suffix in suffixes and parts[0] not in _OUTSIDE and "__pycache__" not in parts and path.is_file():
            yield path


@dataclass(eq=False)
class _Modules:
    """The parsed modules under `root`, by dotted name."""

    root: Path
    trees: dict[str, ast.Module] = field(init=False)
    packages: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.trees, packages = {}, set()
        for path in _files(self.root, frozenset({".py"})):
            parts = (self.root.name, *path.relative_to(self.root).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts = parts[:-1]
                packages.add(".".join(parts))
            self.trees[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
        self.packages = frozenset(packages)

    def content(self, name: str) -> str:
        """The module's syntax and what it imports, as text; empty for a package that only hands names on."""
        body = self._body(name)
        if not body or (name in self.packages and all(_is_list_of_names(node) for node in body)):
            return ""
        return "\n".join([self._syntax(name), *sorted(self._imports(name))])

    @functools.cache  # noqa: B019 (an object lives as long as one call of code_version)
    def own(self, name: str) -> str:
        """Hash of the module's syntax alone: what an import of it stands for."""
        if name not in self.trees:
            return _ELSEWHERE
        return hashlib.sha256(self._syntax(name, plain=True).encode()).hexdigest()

    def _body(self, name: str) -> list[ast.stmt]:
        return [s for s in self.trees[name].body if not isinstance(s, ast.Import | ast.ImportFrom) and not _is_doc(s)]

    def _syntax(self, name: str, plain: bool = False) -> str:
        aliases = {} if plain else self._aliases(name)
        known = frozenset(self._aliases(name)) if plain else frozenset()
        return _written(self._body(name), self, aliases, known)

    def _aliases(self, name: str) -> Mapping[str, str]:
        """Local names that are modules of this package, and which."""
        return {local: module for local, module, what in self._bindings(name) if what is None}

    def _imports(self, name: str) -> Iterator[str]:
        for local, module, what in self._bindings(name):
            if what is not None:
                yield f"import {local} = {what} of {self._reference(module)}"

    def _reference(self, module: str) -> str:
        return self.own(module) if self.inside(module) else module

    def inside(self, module: str) -> bool:
        return module == self.root.name or module.startswith(f"{self.root.name}.")

    def _bindings(self, name: str) -> Iterator[tuple[str, str, str | None]]:
        """(local name, defining module, name there) of every import; the last is None where a module is bound."""
        for node in ast.walk(self.trees[name]):
            if isinstance(node, ast.ImportFrom) and node.module:
                for a in node.names:
                    yield a.asname or a.name, *self._origin(node.module, a.name)
            elif isinstance(node, ast.Import):
                for a in node.names:
                    internal = self.inside(a.name)
                    yield a.asname or a.name, a.name, None if internal else a.name

    def _origin(self, module: str, name: str) -> tuple[str, str | None]:
        """Where a name is defined, through packages that hand it on."""
        if f"{module}.{name}" in self.trees:
            return f"{module}.{name}", None
        if module in self.packages:
            for node in self.trees[module].body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    for a in node.names:
                        if (a.asname or a.name) == name:
                            return self._origin(node.module, a.name)
        return module, name


def _is_doc(node: ast.stmt) -> bool:
    """Whether a statement is a string that stands alone: documentation of a module, class, function or attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_list_of_names(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)


def _written(node: Any, modules: _Modules, aliases: Mapping[str, str], known: frozenset[str] = frozenset()) -> str:
    """The tree as text, as `ast.dump` but for empty fields (newer versions of Python have more of them), for imports
    (they are listed apart) and for names of modules: those in `aliases` stand as content, those in `known` as one mark.
    """
    if isinstance(node, list):
        kept = (n for n in node if not isinstance(n, ast.Import | ast.ImportFrom) and not _is_doc(n))
        return f"[{','.join(_written(n, modules, aliases, known) for n in kept)}]"
    if isinstance(node, ast.Name) and node.id in known:
        return "<module>"
    if isinstance(node, ast.Name) and node.id in aliases:
        return f"<{modules.own(aliases[node.id])}>"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        module, colon, function = node.value.partition(":")
        if module in modules.trees:
            return f"<module>{colon}{function}"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        f"{name}={_written(value, modules, aliases, known)}"
        for name, value in ast.iter_fields(node)
        if value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(fields)})"
