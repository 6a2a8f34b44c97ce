"""Surrogates against closed forms of value and gradient, in float64, at every ratio unit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import policy_objective
from harness.objectives.ratio_units import RATIO_UNITS
from harness.objectives.reductions import REDUCTIONS
from harness.objectives.segmentation import segment
from harness.objectives.surrogates import SURROGATES
from tests.unit.objectives.objective_oracles import make_batch, ragged_batches

ratios = st.floats(-4, 4, allow_nan=False).map(math.exp)
advantages = st.floats(-3, 3, allow_nan=False)
bands = st.sampled_from([ClipBand(0.2, 0.28), ClipBand(3e-4, 4e-4), ClipBand(0.9, 9.0)])


def closed_form(name, x, advantage, band):
    """Value, and derivative with respect to log x, in plain arithmetic."""
    within = min(max(x, 1 - band.low), 1 + band.high)
    if name == "none":
        return -advantage * math.log(x), -advantage
    if name == "cispo":
        return -within * advantage * math.log(x), -within * advantage
    stopped = (x > 1 + band.high and advantage > 0) or (x < 1 - band.low and advantage < 0)
    return -min(x * advantage, within * advantage), 0.0 if stopped else -x * advantage


@pytest.mark.parametrize("name", SURROGATES)
@given(ratios, advantages, bands)
def test_value_and_gradient_have_their_closed_forms(name, x, advantage, band):
    log_x = torch.tensor([math.log(x)], dtype=torch.float64, requires_grad=True)
    value = SURROGATES[name](log_x.exp(), torch.tensor([advantage], dtype=torch.float64), band)
    (slope,) = torch.autograd.grad(value.sum(), log_x)
    wanted_value, wanted_slope = closed_form(name, float(log_x.detach().exp()), advantage, band)
    assert float(value.detach()) == pytest.approx(wanted_value, rel=1e-12, abs=1e-12)
    assert float(slope) == pytest.approx(wanted_slope, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", SURROGATES)
@given(ragged_batches, st.sampled_from(sorted(RATIO_UNITS)))
def test_the_loss_is_the_weighted_sum_whatever_the_ratio_unit(name, batch, ratio_unit):
    band, s = ClipBand(0.2, 0.28), segment(batch.layouts, ratio_unit)
    weights = REDUCTIONS["N1"](s)
    output = policy_objective(batch.logp, batch.old, batch.advantage, s, weights, band, SURROGATES[name])
    (gradient,) = torch.autograd.grad(output.loss, batch.logp)
    loss, expected = 0.0, []
    pairs = zip(output.ratio.tolist(), output.advantage.tolist(), weights.tolist(), output.tokens.tolist(), strict=True)
    for x, advantage, weight, tokens in pairs:
        value, slope = closed_form(name, x, advantage, band)
        loss += weight * value
        expected += [weight * slope / tokens] * tokens
    assert float(output.loss.detach()) == pytest.approx(loss, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_all_surrogates_have_one_gradient_before_the_first_update():
    batch = make_batch([[3, 1, 4], [2], [1, 1]], seed=3, spread=0.0)
    s = segment(batch.layouts, "subsequence")
    found = []
    for surrogate in SURROGATES.values():
        band = ClipBand(0.2, 0.2)
        output = policy_objective(batch.logp, batch.old, batch.advantage, s, REDUCTIONS["N1"](s), band, surrogate)
        found.append(torch.autograd.grad(output.loss, batch.logp)[0])
    assert float(found[0].abs().max()) > 0.01
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0], rtol=1e-12, atol=1e-12)


def test_a_surrogate_of_another_shape_is_refused():
    batch = make_batch([[2, 1]])
    s = segment(batch.layouts, "subsequence")
    with pytest.raises(ValueError, match=r"surrogate \[1\]: \[2\] expected"):
        policy_objective(
            batch.logp, batch.old, batch.advantage, s, REDUCTIONS["N1"](s), ClipBand(0.2, 0.2),
            lambda ratio, advantage, band: (ratio * advantage)[:1],
        )  # fmt: skip
