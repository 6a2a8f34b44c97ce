"""Shuffled credit: a permutation within groups, of as many groups as set."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.credit_shuffle import shuffle_credit


def shuffled_groups(share: float, seed: int, groups: int = 12, size: int = 7) -> tuple[list[list[float]], set[int]]:
    """Advantages by group after shuffling 0 … size − 1 in each, and the groups that were permuted."""
    label = torch.arange(groups).repeat(size)  # groups interleaved
    before = torch.arange(size).repeat_interleave(groups).double()
    after = shuffle_credit(before, label, share, seed)
    rows = [after[label == g].tolist() for g in range(groups)]
    return rows, {g for g, row in enumerate(rows) if row != sorted(row)}


@given(st.floats(0, 1), st.integers(0, 2**63))
def test_shuffled_credit_stays_within_its_group(share, seed):
    rows, _ = shuffled_groups(share, seed)
    assert all(sorted(row) == list(range(7)) for row in rows)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**63))
def test_a_larger_share_shuffles_the_same_groups_and_more(one, other, seed):
    low, high = (shuffled_groups(share, seed) for share in sorted((one, other)))
    assert low[1] <= high[1]
    assert all(low[0][g] == high[0][g] for g in low[1])


def test_the_share_of_groups_that_are_shuffled_is_the_one_set():
    assert shuffled_groups(0.0, 1, groups=400)[1] == set()
    assert len(shuffled_groups(1.0, 1, groups=400)[1]) >= 398  # one permutation of 5,040 changes nothing
    assert len(shuffled_groups(0.3, 1, groups=400)[1]) == pytest.approx(120, abs=30)
