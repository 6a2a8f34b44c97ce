"""Where things that can be made again are kept between runs."""

from __future__ import annotations

from pathlib import Path


def cache_folder() -> Path:
    """Converted models, warm starts and search indexes."""
    return Path.home() / ".cache" / "workflow-rl"
