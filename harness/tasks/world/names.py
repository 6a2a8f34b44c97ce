"""Names: ASCII spellings, comparison keys and stable hashes, the same in every process."""

from __future__ import annotations

import hashlib
import re
import unicodedata

# Letters that Unicode decomposition leaves alone, and the many signs used as an apostrophe.
_SPELLINGS = str.maketrans(
    {
        "ı": "i", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae", "Æ": "Ae",
        "œ": "oe", "Œ": "Oe", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ə": "a", "Ə": "A",
        "’": "'", "‘": "'", "ʻ": "'", "ʼ": "'", "ʿ": "'", "ʾ": "'", "`": "'", "–": "-", "—": "-", "＝": "=",
    }
)  # fmt: skip
_OTHER = re.compile(r"[^a-z0-9]")
ONE_WORD = re.compile(r"[A-Z][a-z]{2,9}")
"""A name that a small policy reads as one token."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z' .-]*[A-Za-z]")


def ascii_name(name: str) -> str:
    """The name in ASCII letters: `Bogotá` -> `Bogota`. Signs without an ASCII form are dropped."""
    if name.isascii():
        return " ".join(name.split())
    folded = unicodedata.normalize("NFKD", name.translate(_SPELLINGS)).encode("ascii", "ignore").decode()
    return " ".join(folded.split())


def name_key(name: str) -> str:
    """Comparison key of a name: ASCII letters and digits in lower case, equal for `Xi’an` and `Xian`."""
    return _OTHER.sub("", (name if name.isascii() else ascii_name(name)).lower())


def is_plain(name: str, longest: int) -> bool:
    """True of a short name of ASCII letters, apostrophes, hyphens, dots and blanks: readable by a small vocabulary."""
    return len(name) <= longest and _PLAIN.fullmatch(name) is not None


def stable_hash(*parts: str) -> int:
    """64-bit hash of strings that does not depend on the process (Python's own `hash` does)."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big")


def pick_by_hash(options: tuple[str, ...], *parts: str) -> str:
    """One of the options, chosen by the hash of `parts`."""
    return options[stable_hash(*parts) % len(options)]


def population_text(people: int) -> str:
    """Population to two digits in words: 15477751 -> `15 million`, 286641 -> `290 thousand`, 5204 -> `5.2 thousand`,
    921 -> `920`. Few distinct numbers, each met often: a small policy can learn to compare them."""
    if people < 10:
        return str(people)
    scale = 10 ** (len(str(people)) - 2)
    people = (people + scale // 2) // scale * scale
    for unit, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if people >= unit:
            value = people / unit
            return f"{value:.1f} {word}" if value < 10 else f"{value:.0f} {word}"
    return str(people)
