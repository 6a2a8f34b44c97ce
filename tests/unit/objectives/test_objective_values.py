"""Objectives against closed forms and plain loops, in float64, values and gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.advantages import group_relative
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import (
    kl_k3,
    policy_objective,
    policy_objective_tokenwise,
    summarize,
)
from harness.objectives.presets import PRESETS
from harness.objectives.ratio_units import RATIO_UNITS, UnitLayout
from harness.objectives.ratios import MAX_LOG_RATIO, log_ratios
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean
from harness.objectives.segmentation import segment
from tests.unit.objectives.objective_oracles import ALIASES, Batch, loop_objective, make_batch, ragged, ragged_batches

BAND = ClipBand(0.2, 0.3)
NEVER = ClipBand(0.999999999, 1e12)
bands = st.sampled_from([BAND, ClipBand(3e-4, 4e-4), NEVER])
ratio_units = st.sampled_from(sorted(RATIO_UNITS))
reductions = st.sampled_from(sorted(REDUCTIONS))


def run(batch: Batch, ratio_unit: str, reduction: str, band: ClipBand, function=policy_objective):
    s = segment(batch.layouts, ratio_unit)
    advantage = batch.advantage
    if function is policy_objective_tokenwise:
        advantage = advantage[s.trajectory_of_token]
    output = function(batch.logp, batch.old, advantage, s, REDUCTIONS[reduction](s), band)
    (gradient,) = torch.autograd.grad(output.loss, batch.logp)
    return output, gradient


def same(a, b, tolerance=1e-12):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=tolerance, atol=tolerance)


# --- the definitions ---------------------------------------------------------------------------------------------


@given(ragged_batches, ratio_units, reductions, bands)
def test_value_and_gradient_equal_the_loops_over_the_formulas(batch, ratio_unit, reduction, band):
    output, gradient = run(batch, ratio_unit, reduction, band)
    loss, expected = loop_objective(batch, [RATIO_UNITS[ratio_unit](u) for u in batch.layouts], reduction, band)
    same(output.loss.detach(), torch.tensor(loss, dtype=torch.float64), 1e-10)
    same(gradient, torch.tensor(expected, dtype=torch.float64), 1e-10)


@pytest.mark.parametrize("ratio_unit", sorted(RATIO_UNITS))
def test_the_gradient_is_the_numerical_derivative(ratio_unit):
    batch = make_batch([[3, 1, 4], [2], [1, 1]], seed=3)
    s = segment(batch.layouts, ratio_unit)
    weights = REDUCTIONS["N1"](s)
    assert torch.autograd.gradcheck(
        lambda logp: policy_objective(logp, batch.old, batch.advantage, s, weights, BAND).loss, (batch.logp,)
    )


@pytest.mark.parametrize("reduction", sorted(REDUCTIONS.keys() - {"seq-mean-token-sum"}))
def test_weights_of_equal_trajectories_sum_to_one(reduction):
    s = segment(make_batch([[2, 5, 1], [7], [1] * 20]).layouts, "subsequence")
    same(REDUCTIONS[reduction](s).sum(), torch.tensor(1.0, dtype=torch.float64))


# --- oracles 1 to 4 ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(0, 99), st.sampled_from(["N1", "N2", "N3"]))
def test_with_one_unit_a_trajectory_gsspo_is_gspo(lengths, seed, reduction):
    batch = make_batch([[n] for n in lengths], seed)
    (ours, gradient), (gspo, expected) = run(batch, "subsequence", reduction, BAND), run(batch, "sequence", "N1", BAND)
    same(ours.loss, gspo.loss)
    same(gradient, expected)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 99), reductions)
def test_with_one_token_units_gsspo_is_grpo(counts, seed, reduction):
    batch = make_batch([[1] * k for k in counts], seed)
    per_token = torch.exp(batch.logp.detach() - batch.old)
    advantage = torch.repeat_interleave(batch.advantage, torch.tensor(counts))
    f = -torch.minimum(per_token * advantage, per_token.clamp(0.8, 1.3) * advantage)
    seq_mean_token_mean_, token_mean = torch.stack([part.mean() for part in f.split(counts)]).mean(), f.mean()
    expected = seq_mean_token_mean_ if ALIASES.get(reduction, reduction).startswith("seq-mean") else token_mean
    if reduction == "seq-mean-token-sum":
        expected = f.sum() / len(counts)
    output, gradient = run(batch, "subsequence", reduction, BAND)
    same(output.loss.detach(), expected)
    same(gradient, run(batch, "token", reduction, BAND)[1])


@given(ragged_batches)
def test_the_unclipped_gradient_of_gsspo_has_its_closed_form(batch):
    _, gradient = run(batch, "subsequence", "N1", NEVER)
    position = 0
    for i, layout in enumerate(batch.layouts):
        for n in layout.lengths:
            mean = float((batch.logp - batch.old)[position : position + n].mean().detach())
            expected = -float(batch.advantage[i]) * math.exp(mean) / (len(batch.layouts) * len(layout.lengths) * n)
            same(gradient[position : position + n], torch.full((n,), expected, dtype=torch.float64), 1e-10)
            position += n


@given(ragged_batches, ratio_units, reductions, st.randoms())
def test_any_micro_batch_split_in_any_order_gives_the_same_gradient(batch, ratio_unit, reduction, rng):
    whole, expected = run(batch, ratio_unit, reduction, BAND)
    s = segment(batch.layouts, ratio_unit)
    weights = REDUCTIONS[reduction](s)
    order = rng.sample(range(len(batch.layouts)), len(batch.layouts))
    cuts = sorted(rng.sample(range(len(order) + 1), rng.randint(0, len(order))))
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]  # some may be empty
    outputs = []
    for part in parts:
        chosen = s.select(part)
        outputs.append(
            policy_objective(
                batch.logp[chosen.tokens],
                batch.old[chosen.tokens],
                batch.advantage[chosen.trajectories],
                chosen.segmentation,
                weights[chosen.segments],
                BAND,
            )
        )
    total = torch.stack([o.loss for o in outputs]).sum()
    (gradient,) = torch.autograd.grad(total, batch.logp)
    same(total, whole.loss, 1e-9)
    same(gradient, expected, 1e-9)
    for name, value in summarize(outputs).items():
        same(value.detach(), summarize([whole])[name].detach(), 1e-9)


def test_at_the_old_policy_gspo_and_grpo_have_one_gradient_and_gsspo_weighs_units():
    batch = make_batch([[3, 1], [5]], spread=0.0)
    grpo, gspo = run(batch, "token", "N3", BAND)[1], run(batch, "sequence", "N1", BAND)[1]
    same(grpo, gspo)
    weights = run(batch, "subsequence", "N1", BAND)[1] / -batch.advantage.repeat_interleave(torch.tensor([4, 5]))
    same(weights, torch.tensor([1 / 12] * 3 + [1 / 4] + [1 / 10] * 5, dtype=torch.float64))


# --- oracle 7 ----------------------------------------------------------------------------------------------------


@given(st.floats(-1.5, 1.0), st.integers(2, 8), ratio_units)
def test_a_group_of_equal_rewards_has_exactly_no_gradient(reward, size, ratio_unit):
    batch = make_batch([[2, 3]] * size)
    advantage = group_relative(torch.full((size,), reward), torch.zeros(size, dtype=torch.int64))
    _, gradient = run(Batch(batch.layouts, batch.logp, batch.old, advantage), ratio_unit, "N1", BAND)
    assert (gradient == 0).all()


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("extreme", [1e4, -1e4, math.inf, -math.inf])
def test_an_extreme_log_ratio_stays_finite_and_leaves_other_segments_exact(dtype, extreme):
    s = segment([UnitLayout((2, 2), (0, 0)), UnitLayout((3,), (0,))], "subsequence")
    old = torch.full((7,), -1.0, dtype=dtype)
    logp = (old + torch.tensor([0, extreme, 0.1, 0.2, -0.1, 0, 0], dtype=dtype)).requires_grad_()
    advantage = torch.tensor([-1.0, 1.0], dtype=dtype)
    output = policy_objective(logp, old, advantage, s, REDUCTIONS["N1"](s), NEVER)
    (gradient,) = torch.autograd.grad(output.loss, logp)
    assert math.isfinite(float(output.loss.detach()))
    assert (gradient[:2] == 0).all()  # clamped: documented to have no gradient
    expected = [math.exp(0.15) / 8] * 2 + [-math.exp(-0.1 / 3) / 6] * 3
    torch.testing.assert_close(gradient[2:], torch.tensor(expected, dtype=dtype))


def test_a_log_ratio_is_not_clamped_before_the_documented_bound():
    s = segment([UnitLayout((2,), (0,))], "sequence")
    logp = torch.tensor([MAX_LOG_RATIO, MAX_LOG_RATIO - 0.2], requires_grad=True)
    (gradient,) = torch.autograd.grad(log_ratios(logp, torch.zeros(2), s).sum(), logp)
    assert gradient.tolist() == [0.5, 0.5]


def test_nothing_flows_into_the_old_policy_or_the_advantage():
    batch = make_batch([[2, 2]])
    old, advantage = batch.old.clone().requires_grad_(), batch.advantage.clone().requires_grad_()
    s = segment(batch.layouts, "subsequence")
    policy_objective(batch.logp, old, advantage, s, REDUCTIONS["N1"](s), NEVER).loss.backward()
    assert old.grad is None
    assert advantage.grad is None


def test_a_nan_log_prob_is_not_hidden():
    batch = make_batch([[2, 2]])
    broken = torch.where(torch.arange(4) == 1, torch.nan, batch.logp)
    s = segment(batch.layouts, "subsequence")
    assert policy_objective(broken, batch.old, batch.advantage, s, REDUCTIONS["N1"](s), BAND).loss.isnan()


@pytest.mark.parametrize("name", ["logp", "old", "advantage", "weights"])
def test_a_tensor_of_the_wrong_length_is_refused(name):
    batch = make_batch([[2, 2], [1]])
    s = segment(batch.layouts, "subsequence")
    given_ = {"logp": batch.logp, "old": batch.old, "advantage": batch.advantage, "weights": REDUCTIONS["N1"](s)}
    given_[name] = given_[name][:-1]
    with pytest.raises(ValueError, match="expected"):
        policy_objective(given_["logp"], given_["old"], given_["advantage"], s, given_["weights"], BAND)


# --- the stop-gradient form --------------------------------------------------------------------------------------


@given(ragged_batches, ratio_units, reductions, bands)
def test_with_one_advantage_a_segment_the_stop_gradient_form_is_the_objective(batch, ratio_unit, reduction, band):
    plain, expected = run(batch, ratio_unit, reduction, band)
    tokenwise, gradient = run(batch, ratio_unit, reduction, band, policy_objective_tokenwise)
    same(tokenwise.loss, plain.loss, 1e-10)
    same(gradient, expected, 1e-10)
    assert torch.equal(tokenwise.clipped, plain.clipped)


def test_the_stop_gradient_form_credits_each_token_with_its_own_advantage():
    """GSPO-token, arXiv 2507.18071, eq. 17: d/d logp_t = -s_i A_t / n_i, unless that token's clip is active."""
    logp = torch.tensor([-1.0, -1.2, -0.5, -0.9], dtype=torch.float64, requires_grad=True)
    old = logp.detach() - torch.tensor([0.4, 0.2, 0.3, 0.3], dtype=torch.float64)  # s = exp(0.3) = 1.35
    advantage = torch.tensor([1.0, -1.0, 0.0, -2.0], dtype=torch.float64)
    s = segment([UnitLayout((4,), (0,))], "sequence")
    output = policy_objective_tokenwise(logp, old, advantage, s, REDUCTIONS["N1"](s), BAND)
    (gradient,) = torch.autograd.grad(output.loss, logp)
    ratio = math.exp(0.3)
    same(gradient, torch.tensor([0.0, ratio / 4, 0.0, ratio / 2], dtype=torch.float64), 1e-10)
    same(output.loss.detach(), torch.tensor(-(1.3 - ratio - 2 * ratio) / 4, dtype=torch.float64), 1e-10)


# --- KL and statistics -------------------------------------------------------------------------------------------


@given(ragged_batches, ratio_units)
def test_the_kl_term_is_the_mean_over_trajectories_of_token_means(batch, ratio_unit):
    s = segment(batch.layouts, ratio_unit)
    value = (seq_mean_token_mean(s) * kl_k3(batch.logp, batch.old)).sum()
    rows = ragged(batch.old - batch.logp, [[sum(u.lengths)] for u in batch.layouts])
    expected = math.fsum(math.fsum(math.expm1(d) - d for d in row[0]) / len(row[0]) for row in rows) / len(rows)
    same(value.detach(), torch.tensor(expected, dtype=torch.float64), 1e-9)
    (gradient,) = torch.autograd.grad(value, batch.logp)
    slope = (1 - (batch.old - batch.logp.detach()).exp()) * seq_mean_token_mean(s)
    same(gradient, slope, 1e-9)


def test_k3_estimates_the_kl_divergence_without_bias():
    """Over a whole distribution the expectation of k3 under pi_theta is KL(pi_theta || pi_ref)."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    same((p * kl_k3(p.log(), q.log())).sum(), (p * (p / q).log()).sum())


def test_kl_stays_finite_for_a_token_the_reference_excludes():
    logp = torch.tensor([-0.1, -1.0], requires_grad=True)
    kl_k3(logp, torch.tensor([-math.inf, 1e5])).sum().backward()
    assert torch.isfinite(logp.grad).all()


def test_clip_fractions_count_units_and_tokens_that_have_an_advantage():
    layouts = [UnitLayout((3, 1), (0, 0)), UnitLayout((2, 4), (0, 0)), UnitLayout((5,), (0,))]
    s = segment(layouts, "subsequence")
    old = torch.zeros(15, dtype=torch.float64)
    unit_logs = torch.tensor([0.5, 0.0, -0.5, 0.5, 0.5], dtype=torch.float64)  # 1.65, 1, 0.61, 1.65, 1.65
    logp = unit_logs.repeat_interleave(torch.tensor([3, 1, 2, 4, 5]))
    advantage = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    output = policy_objective(logp, old, advantage, s, REDUCTIONS["N1"](s), BAND)
    # a high ratio is clipped for A > 0 only, a low one for A < 0 only; the last has no advantage
    assert output.clipped.tolist() == [True, False, True, False, False]
    statistics = summarize([output])
    assert float(statistics["clip_fraction"]) == 2 / 4
    assert float(statistics["clip_fraction_tokens"]) == 5 / 10
    same(statistics["ratio_max"], torch.tensor(math.exp(0.5), dtype=torch.float64))
    same(statistics["ratio_min"], torch.tensor(math.exp(-0.5), dtype=torch.float64))
    same(statistics["ratio_mean"], unit_logs.exp().mean())
    expected_kl = (math.expm1(0.5) - 0.5) * 12 + (math.expm1(-0.5) + 0.5) * 2
    same(statistics["kl_old"], torch.tensor(expected_kl / 15, dtype=torch.float64))


@given(ragged_batches, ratio_units, bands)
def test_a_clipped_segment_has_no_gradient_and_any_other_has_one(batch, ratio_unit, band):
    output, gradient = run(batch, ratio_unit, "N2", band)
    s = segment(batch.layouts, ratio_unit)
    assert torch.equal(gradient != 0, ~output.clipped[s.segment_of_token])


@pytest.mark.parametrize(
    ("name", "point"), [("grpo", ("token", "N3")), ("gspo", ("sequence", "N1")), ("gsspo", ("subsequence", "N1"))]
)
def test_a_preset_is_its_published_point_on_the_axes(name, point):
    assert len(PRESETS) >= 15
    preset = PRESETS[name]
    assert (preset.ratio_unit, preset.reduction) == point
    assert preset.ratio_unit in RATIO_UNITS
    assert preset.reduction in REDUCTIONS
