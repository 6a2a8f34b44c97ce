"""Redaction of secrets from text before it is stored or shown, and of control characters before a terminal.

Secrets are the values of environment variables with a telling name (API_KEY, TOKEN, PASSWORD, …) or named by
`key_variable` in a configuration; passwords in addresses, `//user:password@`, and tokens, `https://token@`; values of
query parameters, `?key=`, and of credential headers, `Authorization:`, `X-API-Key:`. The environment is read at each
call, so a variable that is set late counts.
"""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, TextIO

HIDDEN = "[secret]"
SHORTEST = 6
"""Characters of the shortest value that counts as a secret: shorter ones would be struck out of ordinary words."""
_NAME = re.compile(
    r"(?:^|_)(?:\w*KEYS?|TOKEN|PAT|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|PWD|CREDENTIALS?)(?:_?\d+)?$", re.IGNORECASE
)
_NO_SECRET = frozenset({"PWD", "OLDPWD"})
_PASSWORD = re.compile(r"(?<=//)([^\s/:@'\"]*):[^\s/@'\"]+(?=@)")
_TOKEN = re.compile(r"(https?://)[^\s/:@'\"]+(?=@)")
_SECRET_WORD = r"(?:key|token|secret|password|passwd|pwd|signature|sig|auth)"
_QUERY = re.compile(
    rf"(?P<head>[?&;](?:[\w-]{{0,40}}[_-])?(?:api|access|auth)?{_SECRET_WORD}=)(?P<value>[^\s&;#\"'<>]+)", re.IGNORECASE
)
_HEADER_NAME = (
    r"(?:(?:proxy-)?authorization|bearer|x-[a-z-]{0,40}(?:key|token|secret)|(?:api|auth|access)-(?:key|token))"
)
_HEADER = re.compile(
    rf"""(?P<head>(?<![\w-]){_HEADER_NAME}["']?\s{{0,9}}[:=]\s{{0,9}}(?!(?:\w{{1,9}}\s{{1,9}})?\[secret\])\[?(?P<quote>["'])?"""
    r"""(?:(?:bearer|basic|digest|token|apikey)\s{1,9})?)(?P<value>(?(quote)[^"'\n]+|[^\s"',;&{}\[\]]+))""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<head>\bbearer\s{1,9})(?P<value>[\w.~+/=-]{16,})", re.IGNORECASE)
_WRITTEN = re.compile(
    r"""(?P<head>(?:\b|_)(?:(?:api|access|secret)_?key|key_variable|token|secret|password|passwd|credentials?)["']?\s*[:=]\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s"',{}\[\]]+)""",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*\Z")
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTIONS = frozenset(map(chr, (*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def is_secret(name: str) -> bool:
    """Whether a variable, key or parameter of this name holds a secret."""
    return name not in _NO_SECRET and _NAME.search(name) is not None


def known_secrets(variables: Iterable[str] = ()) -> dict[str, str]:
    """Secrets of the environment, each with its variable. `variables` are further names of variables with secrets."""
    also = frozenset(variables)
    return {
        value.strip(): name
        for name, value in os.environ.items()
        if (name in also or is_secret(name)) and len(value.strip()) >= SHORTEST
    }


def redact(text: str, variables: Iterable[str] = ()) -> str:
    """`text` with every secret replaced by HIDDEN; `variables` as for `known_secrets`."""
    for value in sorted(known_secrets(variables), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = _TOKEN.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}", text))
    for pattern in (_QUERY, _HEADER, _BEARER):
        text = pattern.sub(_hide_value, text)
    return text


def redact_settings(text: str) -> str:
    """As `redact`, for text of a configuration: values of keys named like a secret are replaced too."""
    return _WRITTEN.sub(_hide_value, redact(text))


def _hide_value(found: re.Match[str]) -> str:
    """The match with its value hidden, unless that is a variable's name: `$NAME`, or NAME beside `key_variable`."""
    value = found["value"].strip("\"'")
    may_name = value.startswith("$") or "key_variable" in found["head"].lower()
    is_name = may_name and _VARIABLE.match(value.removeprefix("$")) is not None
    return found[0] if is_name else found["head"] + HIDDEN


def printable(text: str) -> str:
    """`text` for a terminal, of equal length: U+FFFD for each control or direction character but line feed and tab.

    Text of models, servers, files and the command line can then neither move the cursor nor overwrite or reorder what
    is shown.
    """
    return text if text.isprintable() else "".join(map(_printable_character, text))


def _printable_character(c: str) -> str:
    steers = c in _DIRECTIONS or (unicodedata.category(c) in _CONTROLS and c not in "\n\t")
    return "\N{REPLACEMENT CHARACTER}" if steers else c


def error_text(error: BaseException) -> str:
    """The message of an error for a terminal: redacted and printable."""
    return printable(redact(str(error)))


def variables_in(settings: Any) -> frozenset[str]:
    """Environment variables named by `key_variable` anywhere in a configuration."""
    if isinstance(settings, dict):
        own = {settings["key_variable"]} if isinstance(settings.get("key_variable"), str) else set()
        return frozenset(own).union(*map(variables_in, settings.values()))
    return frozenset[str]().union(*map(variables_in, settings)) if isinstance(settings, list | tuple) else frozenset()


class RedactedStream(io.TextIOBase):
    """A text stream that passes whole lines through `clean` to `stream`, so that no write splits a secret."""

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
