import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.objectives.batch import segment_batch, unit_layout
from harness.objectives.ratio_units import RATIO_UNITS, UnitLayout, layout_seed, random_boundaries, shifted_boundaries
from harness.objectives.segmentation import Segmentation, segment
from harness.types import ParsedTurn, Question, Reward, StopReason, Trajectory, Turn
from tests.unit.objectives.objective_oracles import make_batch, ragged_batches

LAYOUT = UnitLayout(lengths=(4, 1, 6), action_starts=(1, 1, 0), seed=5)


def trajectory(units, question="q", sample_seed=0):
    turns = tuple(
        Turn(
            tokens=tuple(range(n)),
            logprobs=(-0.5,) * n,
            parsed=ParsedTurn("", None, None),
            action_start=start,
            observation_tokens=(1, 2),
        )
        for n, start in units
    )
    reward = Reward(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None)
    return Trajectory(
        Question(question, "?", ("a",), "s"), (7, 8), turns, StopReason.ANSWERED, reward, sample_seed=sample_seed
    )


def lengths(segmentation):
    return segmentation.tokens_per_segment.tolist()


@pytest.mark.parametrize(
    ("ratio_unit", "expected"),
    [
        ("token", [1] * 11),
        ("think_action", [1, 3, 1, 6]),
        ("subsequence", [4, 1, 6]),
        ("sequence", [11]),
        ("fixed", [3, 4, 4]),
        ("shifted", [4, 4, 3]),
    ],
)
def test_a_ratio_unit_cuts_a_trajectory_as_defined(ratio_unit, expected):
    assert lengths(segment([LAYOUT], ratio_unit)) == expected


@given(ragged_batches, st.sampled_from(sorted(RATIO_UNITS)))
def test_segments_partition_the_tokens_of_each_trajectory(batch, ratio_unit):
    s = segment(batch.layouts, ratio_unit)
    assert s.n_tokens == batch.n_tokens
    assert s.tokens_per_trajectory.tolist() == [sum(u.lengths) for u in batch.layouts]
    assert (s.tokens_per_segment > 0).all()
    assert s.trajectory_of_token.tolist() == [i for i, u in enumerate(batch.layouts) for _ in range(sum(u.lengths))]


@given(ragged_batches, st.sampled_from(["random", "fixed", "shifted"]))
def test_a_control_has_as_many_segments_as_there_are_real_units(batch, control):
    real, other = segment(batch.layouts, "subsequence"), segment(batch.layouts, control)
    assert other.segments_per_trajectory.tolist() == real.segments_per_trajectory.tolist()


@given(ragged_batches)
def test_fixed_blocks_of_a_trajectory_differ_by_at_most_one_token(batch):
    for layout in batch.layouts:
        blocks = RATIO_UNITS["fixed"](layout)
        assert blocks.max() - blocks.min() <= 1


@given(ragged_batches, st.floats(0, 0.99))
def test_shifted_boundaries_lie_the_share_inside_the_unit_they_moved_into(batch, share):
    for layout in batch.layouts:
        starts = np.cumsum(layout.lengths) - layout.lengths
        moved = np.cumsum(shifted_boundaries(layout, share))[:-1] - starts[1:]
        assert moved.tolist() == [int(np.floor(share * n)) for n in layout.lengths[1:]]


def test_random_boundaries_are_uniform_over_compositions():
    """Of 7 tokens in 3 positive parts there are 15 compositions; 3,000 seeds must hit each equally often."""
    counts = Counter(tuple(random_boundaries(UnitLayout((5, 1, 1), (0, 0, 0), seed=s)).tolist()) for s in range(3000))
    assert len(counts) == 15
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_random_boundaries_depend_on_run_and_trajectory_but_not_on_the_batch():
    one, two = trajectory([(30, 3)] * 5, sample_seed=1), trajectory([(30, 3)] * 5, sample_seed=2)
    alone = lengths(segment_batch([two], "random", seed=9))
    together = segment_batch([one, two], "random", seed=9)
    assert lengths(together)[5:] == alone
    assert lengths(together)[:5] != alone
    assert lengths(segment_batch([two], "random", seed=10)) != alone
    assert lengths(segment_batch([trajectory([(30, 3)] * 5, "other", 2)], "random", seed=9)) != alone


def test_a_layout_seed_is_the_same_on_every_machine():
    assert layout_seed(1, 2, "question") == 13401794664219717726  # NumPy promises that SeedSequence stays stable


def test_a_batch_of_trajectories_is_cut_at_its_turns_and_action_halves():
    batch = [trajectory([(4, 1), (1, 1)]), trajectory([(6, 0)])]
    assert unit_layout(batch[0]).lengths == (4, 1)
    s = segment_batch(batch, "think_action")
    assert lengths(s) == [1, 3, 1, 6]
    assert s.trajectory_of_segment.tolist() == [0, 0, 0, 1]
    assert s.n_tokens == sum(t.n_policy_tokens for t in batch) == sum(len(t.sampled_logprobs) for t in batch)


@pytest.mark.parametrize(
    ("tokens", "owners", "n"),
    [
        ([0, 2], [0, 0, 0], 1),  # a segment without tokens
        ([1, 1], [0, 0], 1),  # the first segment is missing
        ([0, 1, 0], [0, 0], 1),  # not contiguous
        ([0, 0], [0, 0], 1),  # the last segment is missing
        ([0, 1], [1, 0], 2),  # trajectories out of order
        ([0, 1], [0, 2], 2),  # a trajectory that does not exist
        ([0, 1], [-1, 0], 2),
        ([], [0], 1),
        ([0], [], 1),
    ],
)
def test_what_is_no_partition_is_refused(tokens, owners, n):
    with pytest.raises(ValueError):
        Segmentation(torch.tensor(tokens, dtype=torch.int64), torch.tensor(owners, dtype=torch.int64), n)


def test_indices_of_another_type_are_refused():
    with pytest.raises(ValueError, match="int64"):
        Segmentation(torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0, 0]), 1)


@pytest.mark.parametrize(("lengths", "starts"), [((0,), (0,)), ((3,), (4,)), ((3,), (-1,)), ((3, 1), (0,))])
def test_impossible_units_are_refused(lengths, starts):
    with pytest.raises(ValueError):
        UnitLayout(lengths, starts)


def test_a_trajectory_without_policy_tokens_owns_no_segment_and_moves_nothing():
    for ratio_unit in RATIO_UNITS:
        s = segment([UnitLayout((), ()), LAYOUT, UnitLayout((), ())], ratio_unit)
        assert s.segments_per_trajectory.tolist() == [0, s.n_segments, 0]
    assert segment([], "token").n_segments == 0


@given(ragged_batches, st.sampled_from(sorted(RATIO_UNITS)), st.randoms())
def test_a_selection_is_the_segmentation_of_the_chosen_trajectories(batch, ratio_unit, rng):
    chosen = rng.sample(range(len(batch.layouts)), rng.randint(0, len(batch.layouts)))
    s = segment(batch.layouts, ratio_unit)
    selection = s.select(chosen)
    again = segment([batch.layouts[i] for i in chosen], ratio_unit)
    assert torch.equal(selection.segmentation.segment_of_token, again.segment_of_token)
    assert torch.equal(selection.segmentation.trajectory_of_segment, again.trajectory_of_segment)
    assert s.trajectory_of_token[selection.tokens].tolist() == [
        i for i in chosen for _ in range(sum(batch.layouts[i].lengths))
    ]
    assert torch.equal(s.tokens_per_segment[selection.segments], again.tokens_per_segment)
    assert selection.trajectories.tolist() == chosen


@pytest.mark.parametrize("chosen", [[0, 0], [2], [-1]])
def test_a_selection_takes_each_existing_trajectory_at_most_once(chosen):
    with pytest.raises(ValueError):
        segment(make_batch([[2], [3]]).layouts, "token").select(chosen)


def test_ratio_units_are_known_without_torch():
    program = "import sys; from harness.objectives.ratio_units import RATIO_UNITS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
