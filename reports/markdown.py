"""Escapes of GitHub's Markdown."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*|~$&]|<(?=[A-Za-z/!?])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\[(?=[^\]]*\][(\[:]))")
"""What a cell of GitHub's Markdown would not show as it stands; underscores within words and intervals it does."""


def markdown_text(text: str) -> str:
    """Escape a line of text for GitHub's Markdown."""
    return _MARKDOWN.sub(r"\\\1", text.replace("\n", " "))
