"""Secrets are struck out of text before it is kept or shown.

Known secrets are the values of environment variables whose name says so (API_KEY, TOKEN, PASSWORD, …) or that a
configuration names in `key_variable`; passwords in addresses, `//user:password@`, and tokens, `https://token@`. The
environment is read at each call, so a variable that is set late counts.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, TextIO

HIDDEN = "[secret]"
SHORTEST = 6
"""Shorter values are no secrets and would be struck out of ordinary words."""
_NAME = re.compile(
    r"(?:^|_)(?:\w*KEYS?|TOKEN|PAT|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|PWD|CREDENTIALS?)(?:_?\d+)?$", re.IGNORECASE
)
_NO_SECRET = frozenset({"PWD", "OLDPWD"})
_PASSWORD = re.compile(r"(?<=//)([^\s/:@'\"]*):[^\s/@'\"]+(?=@)")
_TOKEN = re.compile(r"(https?://)[^\s/:@'\"]+(?=@)")
_WRITTEN = re.compile(
    r"""((?:\b|_)(?:(?:api|access|secret)_?key|key_variable|token|secret|password|passwd|credentials?)["']?\s*[:=]\s*)"""
    r"""("[^"]*"|'[^']*'|[^\s"',{}\[\]]+)""",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*\Z")


def is_secret(name: str) -> bool:
    """Whether what a variable, key or parameter of this name holds is a secret."""
    return name not in _NO_SECRET and _NAME.search(name) is not None


def known_secrets(variables: Iterable[str] = ()) -> dict[str, str]:
    """The secrets in the environment, and the variable that holds each; `variables` name further ones."""
    also = frozenset(variables)
    return {
        value.strip(): name
        for name, value in os.environ.items()
        if (name in also or is_secret(name)) and len(value.strip()) >= SHORTEST
    }


def redact(text: str, variables: Iterable[str] = ()) -> str:
    """`text` without known secrets; `variables` name further ones of the environment."""
    for value in sorted(known_secrets(variables), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _TOKEN.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}", text))


def redact_settings(text: str) -> str:
    """As `redact`, for a line of configuration: what stands beside a key named like a secret goes too."""
    return _WRITTEN.sub(_keep_variable, redact(text))


def _keep_variable(found: re.Match[str]) -> str:
    return found[0] if _VARIABLE.match(found[2].strip("\"'")) else found[1] + HIDDEN


def variables_in(settings: Any) -> frozenset[str]:
    """The environment variables that a configuration names in `key_variable`, however deep."""
    if isinstance(settings, dict):
        own = {settings["key_variable"]} if isinstance(settings.get("key_variable"), str) else set()
        return frozenset(own).union(*map(variables_in, settings.values()))
    return frozenset[str]().union(*map(variables_in, settings)) if isinstance(settings, list | tuple) else frozenset()


class RedactedStream(io.TextIOBase):
    """Writes to `stream` line by line, each without secrets."""

    def __init__(self, stream: TextIO, clean: Callable[[str], str] = redact) -> None:
        self._stream, self._clean, self._pending = stream, clean, ""

    def write(self, text: str) -> int:
        *lines, self._pending = (self._pending + text).splitlines(keepends=True) or [""]
        if self._pending.endswith(("\n", "\r")):
            lines, self._pending = [*lines, self._pending], ""
        if lines:
            self._stream.write(self._clean("".join(lines)))
        return len(text)

    def flush(self) -> None:
        if self._pending:
            self._stream.write(self._clean(self._pending))
            self._pending = ""
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding
