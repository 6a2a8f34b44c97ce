"""Paths outside of run folders, and the commands of this program as they are typed."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

CONSOLE_COMMAND = "workflow-harness"
_SOURCES = Path(__file__).resolve().parents[1]
"""The repository, or the folder that the packages are installed in."""
_SHIPPED = _SOURCES / "ablations"


def cache_folder() -> Path:
    """Converted models, warm starts and search indexes."""
    return Path.home() / ".cache" / "workflow-rl"


def checkout() -> Path | None:
    """The repository that this code runs from; None where it is installed as a wheel."""
    return _SOURCES if (_SOURCES / "Makefile").is_file() else None


def sweep_file(path: Path) -> Path:
    """`path`, or where there is no such file and it reads NAME or ablations/NAME: the shipped study of that name."""
    if path.exists() or path.parent not in (Path(), Path(_SHIPPED.name)):
        return path
    shipped = (_SHIPPED / path.name).with_suffix(".yaml")
    return shipped if shipped.exists() else path


def shipped_sweeps() -> list[str]:
    """Names of the studies that `sweep_file` finds anywhere."""
    return sorted(path.name for path in _SHIPPED.glob("*.yaml"))


def python() -> str:
    """The interpreter of this process, as it is typed here."""
    path, here = Path(sys.executable), Path.cwd()
    return shlex.quote(str(path.relative_to(here)) if path.is_relative_to(here) else _typed("python", str(path)))


def command(verb: str, module: str) -> str:
    """A command of this program in the form that started this process: of the console command, or of the module.

    `module` may have a subcommand after it.
    """
    started = Path(sys.argv[0])
    if started.name != CONSOLE_COMMAND:
        return f"{python()} -m {module}"
    return f"{shlex.quote(_typed(CONSOLE_COMMAND, str(started)))} {verb}".strip()


def _typed(name: str, path: str) -> str:
    """`name` where the shell finds that very file by its name, else `path`."""
    found = shutil.which(name)
    return name if found and Path(found).absolute() == Path(path).absolute() else path
