"""The one exception of this package."""

from __future__ import annotations

from harness.tasks.boundary import printable_line


class DataError(ValueError):
    """A file of questions or passages that cannot be used.

    The message names the file, the line and what to do; it is one printable line whatever the file holds.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable_line(message))
