"""Commit of the working tree, recorded where its code is that of a study's trials."""

from __future__ import annotations

import subprocess

from harness.paths import checkout


def working_tree_revision() -> str | None:
    """The commit of the working tree, None outside of one; with "+" where files differ from it."""
    root = checkout()
    if root is None:
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "reports"], cwd=root, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty else "")
