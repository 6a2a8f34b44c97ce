"""Search for symbolic links where files are about to be written in a folder that may be another person's."""

from __future__ import annotations

import os
from pathlib import Path


def link_within(*folders: Path) -> Path | None:
    """The first symbolic link among `folders` and all that the last of them holds; None if there is none."""
    for folder in folders:
        if folder.is_symlink():
            return folder
    for place, inner, files in os.walk(folders[-1]):
        for name in (*inner, *files):
            if (Path(place) / name).is_symlink():
                return Path(place) / name
    return None
