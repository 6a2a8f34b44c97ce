"""One's own code, named by a setting: a module by import path or by file, and a function in it.

`package.module`, `path/to/file.py`, `package.module:function`, `path/to/file.py:function`; files are relative to the
working directory. Naming code runs it, so a name is followed only where a person wrote it (a sweep file, the command
line), never where a stored trial has it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_FUNCTION = re.compile(r"(?P<module>[^:]+):(?P<function>[A-Za-z_]\w*)")


class OwnCodeError(ValueError):
    """One's own code cannot be used; the message says what to do."""


def names_function(name: str) -> bool:
    """Whether a name has the form `module:function`."""
    return _FUNCTION.fullmatch(name) is not None


def own_module(name: str) -> ModuleType:
    """Import a module by path or file, once a process. Raises OwnCodeError, also for what the import itself raises."""
    try:
        return _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except FileNotFoundError:
        raise OwnCodeError(f"there is no file {name!r}") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise OwnCodeError(f"{name!r} cannot be imported ({reason})") from error


def own_function(name: str) -> Callable[..., Any]:
    """The function `module:function`. Raises OwnCodeError."""
    match = _FUNCTION.fullmatch(name)
    if match is None:
        raise OwnCodeError(f"{name!r} has not the form package.module:function or path/to/file.py:function")
    found = getattr(own_module(match["module"]), match["function"], None)
    if not callable(found):
        raise OwnCodeError(f"{match['module']!r} has no function {match['function']!r}")
    return found


def chosen_function(name: str, registry: Mapping[str, Function]) -> Function:
    """The registered function, or one's own. Raises OwnCodeError."""
    return cast(Function, own_function(name)) if names_function(name) else registry[name]


def source_digest(name: str) -> str:
    """SHA-256 of the named module's file, in hex; what that module imports does not count. Raises OwnCodeError."""
    match = _FUNCTION.fullmatch(name)
    module = own_module(match["module"] if match else name)
    file = getattr(module, "__file__", None)
    if file is None:
        raise OwnCodeError(f"{name!r} has no source file")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def error_line(error: BaseException, module: ModuleType) -> str:
    """`:12` for an error that passed line 12 of the module last, else empty."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == module.__file__]
    return f":{lines[-1]}" if lines else ""


def _from_file(file: Path) -> ModuleType:
    content = file.read_bytes()
    name = f"own_{file.stem}_{hashlib.sha256(str(file.resolve()).encode() + content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("no Python source")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
