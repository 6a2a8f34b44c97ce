"""Turn credit against an independent plain loop, closed forms, and the published estimators that it expresses."""

from __future__ import annotations

import math
import statistics
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.advantages import group_centred, group_relative, leave_one_out
from harness.objectives.turn_credit import COMPARISONS, RETURNS, SCALES, TELESCOPED_SCALES, turn_credit
from harness.objectives.turn_table import TurnTable

Rows = list[tuple[int, list[tuple[float, int, int]]]]
"""Episodes: question, and (reward, state, tokens) of each turn. States are of their question."""

turns = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=6
)
batches = st.lists(st.tuples(st.integers(0, 2), turns), min_size=1, max_size=9)
combinations = [
    (returns, group, scale, counts, normalize)
    for returns, group, scale, counts, normalize in product(
        RETURNS, COMPARISONS, SCALES, ("trajectory", "unit", "token"), ("returns", "rewards")
    )
    if returns != "telescoped" or (scale in TELESCOPED_SCALES and normalize == "returns")
]


def table(rows: Rows) -> TurnTable:
    flat = [(i, q, *turn) for i, (q, episode) in enumerate(rows) for turn in episode]
    column = [torch.tensor(values) for values in zip(*flat, strict=True)]
    return TurnTable(
        column[2].double(), column[0], column[1], column[1] * 10 + column[3], column[4], column[0] != column[0]
    )


def loop_credit(rows: Rows, returns, group, scale, counts, normalize, discount, trace) -> list[float]:
    """The definition, one turn at a time, over Python floats."""
    units = [(i, k) for i, (_, episode) in enumerate(rows) for k in range(len(episode))]
    reward = {(i, k): rows[i][1][k][0] for i, k in units}

    def peers(u):
        (i, k), q = u, rows[u[0]][0]
        alike = {
            "question": lambda j, m: True,
            "leave_one_out": lambda j, m: True,
            "question_turn": lambda j, m: m == k,
            "anchor": lambda j, m: rows[j][1][m][1] == rows[i][1][k][1],
        }
        return [v for v in units if group == "batch" or (rows[v[0]][0] == q and alike[group](*v))]

    def weigh(v, members):
        if counts == "token":
            return rows[v[0]][1][v[1]][2]
        return 1.0 if counts == "unit" else 1 / sum(w[0] == v[0] for w in members)

    def mean(x, u):
        members = peers(u)
        if len({x[v] for v in members}) == 1:
            return x[u]
        weights = {v: weigh(v, members) for v in members}
        kept = [v for v in members if group != "leave_one_out" or v[0] != u[0]]
        return math.fsum(weights[v] * x[v] for v in kept) / math.fsum(weights[v] for v in kept) if kept else x[u]

    def spread(x, members):
        weights = [weigh(v, members) for v in members]
        size = math.fsum(weights)
        middle = math.fsum(w * x[v] for w, v in zip(weights, members, strict=True)) / size
        squares = math.fsum(w * (x[v] - middle) ** 2 for w, v in zip(weights, members, strict=True))
        return math.sqrt(squares / max(size - 1, 1e-6)) + 1e-6

    def compare(x):
        centred = {}
        for u in units:
            members = peers(u)
            alone = math.fsum(weigh(v, members) for v in members) < 1 + 1e-6
            centred[u] = 0.0 if alone else x[u] - mean(x, u)
        if scale == "none":
            return centred
        if scale == "std":
            return {u: centred[u] / spread(x, peers(u)) for u in units}
        if scale == "mean":
            return {u: centred[u] / (mean(x, u) + 1e-6) for u in units}
        return {u: centred[u] / spread(centred, units) for u in units}

    def summed(x, factor):
        if returns == "broadcast":
            return {(i, k): math.fsum(x[i, j] for j in range(len(rows[i][1]))) for i, k in units}
        return {(i, k): math.fsum(factor ** (j - k) * x[i, j] for j in range(k, len(rows[i][1]))) for i, k in units}

    if normalize == "rewards":
        credit = summed(compare(reward), discount)
    elif returns != "telescoped":
        credit = compare(summed(reward, discount))
    else:
        to_go = summed(reward, discount)
        value = {u: mean(to_go, u) for u in units}
        delta = {(i, k): reward[i, k] + discount * value.get((i, k + 1), 0.0) - value[i, k] for i, k in units}
        credit = summed(delta, discount * trace)
        if scale == "batch_std":
            credit = {u: credit[u] / spread(credit, units) for u in units}
    return [credit[u] for u in units]


@given(batches, st.sampled_from(combinations), st.sampled_from([1.0, 0.5, 0.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_combination_equals_the_plain_loop(rows, axes, discount, trace):
    returns, group, scale, counts, normalize = axes
    credit = turn_credit(
        table(rows),
        returns=returns,
        group=group,
        scale=scale,
        counts=counts,
        normalize=normalize,
        discount=discount,
        trace=trace,
    )
    expected = loop_credit(rows, *axes, discount, trace)
    # a standard deviation that is rounding alone, of equal values, is divided by epsilon
    torch.testing.assert_close(credit, torch.tensor(expected, dtype=torch.float64), rtol=1e-8, atol=1e-8)


@given(batches, st.sampled_from(["trajectory", "unit"]))
def test_an_outcome_broadcast_over_an_episode_is_the_trajectorys_own_advantage(rows, counts):
    """The turn axes contain GRPO, Dr. GRPO and RLOO, where an episode counts once."""
    rows = [(q, [(0.0, 0, 1)] * k + [(r, 0, 1)]) for q, ((r, _, _), *rest) in rows for k in [len(rest)]]
    if counts == "unit":
        rows = [(q, episode[-1:]) for q, episode in rows]
    t = table(rows)
    rewards = torch.tensor([episode[-1][0] for _, episode in rows], dtype=torch.float64)
    label = torch.tensor([q for q, _ in rows])
    several = torch.bincount(label, minlength=3)[label] > 1  # a trajectory's advantage alone in its group is not 0
    for (group, scale), estimator in {
        ("question", "std"): group_relative,
        ("question", "none"): group_centred,
        ("leave_one_out", "none"): leave_one_out,
    }.items():
        credit = turn_credit(t, returns="broadcast", group=group, scale=scale, counts=counts)
        wanted = estimator(rewards, label).where(several, 0.0)[t.trajectory]
        torch.testing.assert_close(credit, wanted, rtol=1e-9, atol=1e-9)


@given(batches)
def test_telescoped_credit_adds_up_to_the_return_minus_the_first_states_value(rows):
    rows = [(q, [(r, 0 if k == 0 else s, n) for k, (r, s, n) in enumerate(episode)]) for q, episode in rows]
    t = table(rows)
    credit = turn_credit(t, returns="telescoped", group="anchor", scale="none")
    to_go = torch.tensor([math.fsum(r for r, _, _ in episode[k:]) for _, episode in rows for k in range(len(episode))])
    for i, (q, episode) in enumerate(rows):
        start = statistics.fmean(to_go.tolist()[u] for u in range(t.n_turns) if int(t.state[u]) == q * 10)
        total = math.fsum(r for r, _, _ in episode)
        assert float(credit[t.trajectory == i].sum()) == pytest.approx(total - start, abs=1e-6)


def test_anchor_telescoped_credit_gives_the_turn_that_changed_the_state_its_worth():
    """Two states with values 1/4 and 1/2 (three episodes search, one answers at once): V(s') - V(s), then R - V."""
    rows = [
        (0, [(0.0, 0, 1), (1.0, 1, 1)]),
        (0, [(0.0, 0, 1), (0.0, 1, 1)]),
        (0, [(0.0, 0, 1)]),
        (0, [(0.0, 0, 1)]),
    ]
    credit = turn_credit(table(rows), returns="telescoped", group="anchor", scale="none")
    assert credit.tolist() == pytest.approx([0.25, 0.5, 0.25, -0.5, -0.25, -0.25])


def test_gae_with_a_trace_of_one_is_the_return_minus_the_value():
    rows = [(0, [(0.5, 0, 1), (1.0, 1, 1)]), (0, [(0.0, 0, 1), (0.0, 1, 1)])]
    credit = turn_credit(table(rows), returns="telescoped", group="anchor", scale="none", trace=1.0)
    assert credit.tolist() == pytest.approx([1.5 - 0.75, 1.0 - 0.5, -0.75, -0.5])


def test_gigpo_compares_discounted_returns_within_anchor_states_and_leaves_singletons_at_zero():
    rows = [(0, [(0.0, 0, 1), (1.0, 1, 1)]), (0, [(0.0, 0, 1), (0.0, 2, 1)])]
    credit = turn_credit(table(rows), returns="to_go", group="anchor", scale="std", discount=0.5)
    z = 0.25 / (statistics.stdev([0.5, 0.0]) + 1e-6)
    assert credit.tolist() == pytest.approx([z, 0.0, -z, 0.0])


def test_normalising_rewards_by_turn_index_charges_the_mean_reward_for_one_turn_more():
    """The bias of verl RFC 7244 in its closed form. Every turn earns 1/2 and the outcome is the same; half of the
    episodes stop after one turn. Credit of the first turn should prefer the longer ones by 1/2, whichever baseline;
    normalised reward by reward, it prefers neither."""
    rows = [(0, [(0.5, 0, 1), (0.5, 1, 1)])] * 4 + [(0, [(0.5, 0, 1)])] * 4
    first = torch.tensor([k == 0 for _, episode in rows for k in range(len(episode))])
    gaps = {}
    for normalize in ("rewards", "returns"):
        credit = turn_credit(table(rows), returns="to_go", group="question_turn", scale="none", normalize=normalize)[
            first
        ]
        gaps[normalize] = float(credit[:4].mean() - credit[4:].mean())
    assert gaps == {"rewards": pytest.approx(0.0), "returns": pytest.approx(0.5)}
    assert gaps["returns"] - gaps["rewards"] == pytest.approx(0.5)  # E[r] of the turn that was taken or not


def test_counting_tokens_whitens_a_batch_as_reinforce_plus_plus_does():
    rows = [(0, [(0.0, 0, 3), (1.0, 1, 2)]), (1, [(0.0, 0, 4)]), (2, [(0.25, 0, 1)])]
    credit = turn_credit(table(rows), returns="to_go", group="batch", scale="std", counts="token")
    tokens = [1.0] * 5 + [0.0] * 4 + [0.25]
    expected = [(r - statistics.mean(tokens)) / (statistics.stdev(tokens) + 1e-6) for r in (1.0, 1.0, 0.0, 0.25)]
    assert credit.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("axes", combinations, ids="-".join)
@given(st.floats(0.0625, 4, allow_nan=False), st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_equal_outcomes_give_exactly_zero(axes, reward, lengths):
    rows = [(0, [(0.0, k, 1) for k in range(n - 1)] + [(reward, n - 1, 1)]) for n in lengths]
    returns, group, scale, counts, normalize = axes
    if normalize == "rewards":  # rewards of turns differ even where outcomes are equal
        rows = [(0, [(reward, k, 1) for k in range(n)]) for n in lengths]
    credit = turn_credit(table(rows), returns=returns, group=group, scale=scale, counts=counts, normalize=normalize)
    assert credit.tolist() == [0.0] * sum(lengths)


@given(batches, st.sampled_from(combinations), st.randoms())
def test_the_order_of_episodes_does_not_matter(rows, axes, rng):
    order = rng.sample(range(len(rows)), len(rows))
    names = ("returns", "group", "scale", "counts", "normalize")
    credit, moved = (
        turn_credit(table(r), **dict(zip(names, axes, strict=True))) for r in (rows, [rows[i] for i in order])
    )
    parts, again = (
        list(c.split([len(e) for _, e in r])) for c, r in ((credit, rows), (moved, [rows[i] for i in order]))
    )
    for place, i in enumerate(order):
        torch.testing.assert_close(again[place], parts[i], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"returns": "sum"},
        {"scale": "max"},
        {"returns": "telescoped"},
        {"returns": "telescoped", "scale": "none", "normalize": "rewards"},
    ],
)
def test_unknown_and_impossible_axes_are_refused(wrong):
    axes = {"returns": "to_go", "group": "anchor", "scale": "std"} | wrong
    with pytest.raises(ValueError, match=r"scale|returns"):
        turn_credit(table([(0, [(1.0, 0, 1)])]), **axes)


def test_a_negative_return_has_no_mean_to_be_divided_by():
    with pytest.raises(ValueError, match="negative"):
        turn_credit(table([(0, [(-1.0, 0, 1)]), (0, [(2.0, 0, 1)])]), returns="to_go", group="question", scale="mean")


def test_a_table_of_unordered_trajectories_is_refused():
    t = table([(0, [(1.0, 0, 1)]), (0, [(1.0, 0, 1)])])
    with pytest.raises(ValueError, match="in order"):
        TurnTable(t.reward, t.trajectory.flip(0), t.question, t.state, t.tokens, t.after_result)
