"""How many examples Hypothesis draws: few in every change's tests, all in `make nightly` (conftest.py's profiles)."""

from __future__ import annotations

from hypothesis import settings

THOROUGH = 100
"""Examples of a test that names no number, under the profile `thorough`."""


def examples(thorough: int) -> int:
    """The current profile's number of examples for a test that draws `thorough` of them nightly."""
    return max(min(thorough, 8), thorough * settings.default.max_examples // THOROUGH)
