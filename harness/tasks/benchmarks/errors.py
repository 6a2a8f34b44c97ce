"""The one exception of this package."""

from __future__ import annotations


class DataError(ValueError):
    """A file of questions or passages cannot be used. The message names the file, the line and what to do."""
