import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.advantages import ADVANTAGES, group_centred, group_relative, leave_one_out

rewards_and_groups = st.lists(
    st.tuples(st.sampled_from([-1.5, -1.0, -0.5, 0.0, 0.1, 0.5, 1.0]), st.integers(-3, 4)), min_size=1, max_size=40
)


def tensors(rows):
    return torch.tensor([r for r, _ in rows], dtype=torch.float64), torch.tensor([g for _, g in rows])


@given(rewards_and_groups)
def test_advantages_equal_the_formula_group_by_group(rows):
    """Labels are arbitrary and in any order; some labels of the range have no trajectory at all."""
    advantage = group_relative(*tensors(rows))
    for (reward, group), ours in zip(rows, advantage.tolist(), strict=True):
        members = [r for r, g in rows if g == group]
        if len(members) == 1:
            expected = reward / (1 + 1e-6)
        elif len(set(members)) == 1:
            assert ours == 0.0
            continue
        else:
            expected = (reward - statistics.mean(members)) / (statistics.stdev(members) + 1e-6)
        assert ours == pytest.approx(expected, abs=1e-9)


@given(rewards_and_groups)
def test_centred_and_leave_one_out_advantages_equal_their_formulas_group_by_group(rows):
    centred, left_out = group_centred(*tensors(rows)).tolist(), leave_one_out(*tensors(rows)).tolist()
    for i, (reward, group) in enumerate(rows):
        members = [r for r, g in rows if g == group]
        others = [r for j, (r, g) in enumerate(rows) if g == group and j != i]
        assert centred[i] == pytest.approx(reward - statistics.mean(members) if others else reward, abs=1e-12)
        assert left_out[i] == pytest.approx(reward - statistics.mean(others) if others else reward, abs=1e-12)


@pytest.mark.parametrize("estimator", ADVANTAGES.values(), ids=ADVANTAGES)
@given(st.floats(-10, 10, allow_nan=False), st.integers(2, 9))
def test_equal_rewards_give_exactly_zero(estimator, reward, size):
    assert estimator(torch.full((size,), reward), torch.zeros(size, dtype=torch.int64)).tolist() == [0.0] * size


@pytest.mark.parametrize("estimator", ADVANTAGES.values(), ids=ADVANTAGES)
@given(rewards_and_groups, st.randoms())
def test_the_order_of_trajectories_does_not_matter(estimator, rows, rng):
    order = rng.sample(range(len(rows)), len(rows))
    expected = estimator(*tensors(rows))[order]
    torch.testing.assert_close(estimator(*tensors([rows[i] for i in order])), expected, rtol=0, atol=1e-9)


def test_an_empty_batch_has_no_advantages():
    assert group_relative(torch.zeros(0), torch.zeros(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize(("rewards", "group"), [((3,), (2,)), ((2, 2), (2, 2))])
def test_rewards_and_groups_of_different_shapes_are_refused(rewards, group):
    with pytest.raises(ValueError, match="expected"):
        group_relative(torch.zeros(rewards), torch.zeros(group, dtype=torch.int64))
