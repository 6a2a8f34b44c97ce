"""A command killed at any moment, given again, ends as if undisturbed, and nothing half-made looks whole."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.system.faults.timed_commands import TIMED_COMMANDS
from tests.system.faults.timed_kills import TimedCommand, check_timed_kills

QUICK = ["data prepare", "search index", "warm start", "policy recipe"]


@pytest.mark.parametrize("name", QUICK)
def test_a_command_killed_at_some_moments_is_given_again(tmp_path: Path, name: str) -> None:
    assert check_timed_kills(TIMED_COMMANDS[name], tmp_path, kills=2, seed=1) == 2


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", TIMED_COMMANDS)
def test_a_command_killed_at_many_moments_is_given_again(tmp_path: Path, name: str) -> None:
    assert check_timed_kills(TIMED_COMMANDS[name], tmp_path, kills=12, seed=2) == 12


def _in_place(place: Path) -> None:
    for n in range(200):
        with (place / "table.csv").open("a") as table:
            table.write(f"{n}\n")
            table.flush()
            time.sleep(0.002)


def _read(place: Path) -> str:
    return (place / "table.csv").read_text()


def _whole(place: Path, whole: Path) -> None:
    if (place / "table.csv").exists():
        assert _read(place) == _read(whole)


def test_a_command_that_writes_in_place_is_caught_by_time_too(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_timed_kills(TimedCommand(_in_place, _read, _whole), tmp_path, kills=2, seed=1)
