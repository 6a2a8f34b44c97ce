"""A command killed before any touch of its files leaves nothing half-made, and the same command then succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.faults.killable import COMMANDS, Inputs
from tests.system.faults.killed_commands import Command, check_kills


@pytest.mark.parametrize("make", COMMANDS, ids=lambda make: make.__name__)
def test_a_killed_command_is_given_again_and_ends_as_if_undisturbed(tmp_path: Path, make) -> None:
    inputs = Inputs(tmp_path / "inputs")
    inputs.make()
    assert check_kills(make(inputs), tmp_path / "runs", kills=6, seed=1) >= 3


@pytest.mark.nightly
@pytest.mark.parametrize("make", COMMANDS, ids=lambda make: make.__name__)
def test_a_command_killed_before_every_touch(tmp_path: Path, make) -> None:
    inputs = Inputs(tmp_path / "inputs")
    inputs.make()
    check_kills(make(inputs), tmp_path / "runs", kills=10**6, seed=1)


def test_a_command_that_writes_in_place_is_caught(tmp_path: Path) -> None:
    def in_place(place: Path) -> None:
        for name in ("report.html", "figure.svg"):
            (place / name).write_text("whole")

    def sound(place: Path) -> None:
        if (place / "report.html").exists():
            assert (place / "figure.svg").exists()

    with pytest.raises(AssertionError):
        check_kills(Command("in place", in_place, sound), tmp_path / "runs", kills=9, seed=1)
