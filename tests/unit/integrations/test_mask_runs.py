import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.integrations.mask_runs import segment_mask_runs


@given(st.integers(1, 12).flatmap(lambda w: st.lists(st.lists(st.booleans(), min_size=w, max_size=w), min_size=1)))
def test_units_are_the_runs_of_each_row_counted_by_hand(rows):
    expected_lengths, owners = [], []
    for i, row in enumerate(rows):
        runs = "".join("x" if m else " " for m in row).split()
        expected_lengths += [len(r) for r in runs]
        owners += [i] * len(runs)
    s = segment_mask_runs(torch.tensor(rows))
    assert s.tokens_per_segment.tolist() == expected_lengths
    assert s.trajectory_of_segment.tolist() == owners
    assert s.n_trajectories == len(rows)


@pytest.mark.parametrize("left", [0, 3])
@pytest.mark.parametrize("right", [0, 2])
def test_padding_on_either_side_changes_nothing(left, right):
    mask = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1]])
    padded = segment_mask_runs(torch.nn.functional.pad(mask, (left, right)))
    assert torch.equal(padded.segment_of_token, segment_mask_runs(mask).segment_of_token)
    assert torch.equal(padded.trajectory_of_segment, segment_mask_runs(mask).trajectory_of_segment)


def test_a_run_never_crosses_from_the_end_of_a_row_to_the_next():
    assert segment_mask_runs(torch.ones(2, 3)).tokens_per_segment.tolist() == [3, 3]
