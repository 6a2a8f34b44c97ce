"""Which texts a configuration may hold, and which of them may name something: an arm, an axis, an experiment."""

from __future__ import annotations

from unicodedata import normalize

from harness.tasks.boundary import UNSEEN_CHARS

MAX_NAME_CHARS = 200


def text_fault(text: str) -> str | None:
    """What of a text no file, figure or store can hold; None if all can. Line breaks and tabs are allowed."""
    found = next((c for c in text if "\ud800" <= c <= "\udfff" or (c < " " and c not in "\n\r\t") or c == "\x7f"), None)
    if found is None:
        return None
    kind = "half a surrogate pair" if found >= "\ud800" else "the control character"
    return f"holds {kind} (U+{ord(found):04X})"


def name_fault(text: str) -> str | None:
    """Why a text cannot name something in tables, figures and files; None if it can.

    Invisible characters are refused: two names must not look the same.
    """
    found = next((c for c in text if not c.isprintable()), None)
    if found is not None:
        return f"holds a character that is not printable (U+{ord(found):04X}); write its visible characters only"
    if len(text) > MAX_NAME_CHARS:
        return f"has {len(text)} characters; a name has at most {MAX_NAME_CHARS}"
    if text != text.strip() or not text:
        return "begins or ends with a space, which no table shows"
    return None if name_look(text).strip() else "has no visible character"


def name_look(text: str) -> str:
    """What a reader sees of a name: texts that look the same have the same."""
    return normalize("NFC", "".join(c for c in text if c not in UNSEEN_CHARS))
