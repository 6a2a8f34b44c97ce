"""Surrogates against an independent plain loop, value and gradient, in float64, at every ratio unit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import policy_objective, policy_objective_tokenwise
from harness.objectives.ratio_units import RATIO_UNITS, UnitLayout
from harness.objectives.reductions import REDUCTIONS
from harness.objectives.segmentation import segment
from harness.objectives.surrogates import SURROGATES, TokenSurrogate
from tests.unit.objectives.objective_oracles import loop_surrogate, make_batch, ragged, ragged_batches

bands = st.sampled_from([ClipBand(0.2, 0.28), ClipBand(3e-4, 4e-4), ClipBand(0.9, 9.0), ClipBand(1.0, 4.0)])


def expected(name, batch, segmentation, weights, advantage, band):
    """Loss and gradient of the plain loop, one segment at a time. `advantage`: [T]."""
    lengths = [segmentation.tokens_per_segment.tolist()]
    rows = [ragged(values, lengths)[0] for values in (batch.logp, batch.old, advantage)]
    loss, gradient = 0.0, []
    for weight, logp, old, credit in zip(weights.tolist(), *rows, strict=True):
        value, slopes = loop_surrogate(name, logp, old, credit, band)
        loss += weight * value
        gradient += [weight * slope for slope in slopes]
    return loss, torch.tensor(gradient, dtype=torch.float64)


def same(output, logp, wanted):
    (gradient,) = torch.autograd.grad(output.loss, logp)
    assert float(output.loss.detach()) == pytest.approx(wanted[0], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient, wanted[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SURROGATES)
@given(ragged_batches, st.sampled_from(sorted(RATIO_UNITS)), st.sampled_from(["N1", "N4"]), bands)
def test_loss_and_gradient_are_those_of_the_plain_loop_whatever_the_ratio_unit(
    name, batch, ratio_unit, reduction, band
):
    s = segment(batch.layouts, ratio_unit)
    weights = REDUCTIONS[reduction](s)
    output = policy_objective(batch.logp, batch.old, batch.advantage, s, weights, band, SURROGATES[name])
    wanted = expected(name, batch, s, weights, batch.advantage[s.trajectory_of_token], band)
    same(output, batch.logp, wanted)


@pytest.mark.parametrize("name", SURROGATES)
@given(ragged_batches, st.sampled_from(sorted(RATIO_UNITS)), bands, st.integers(0, 99))
def test_with_an_advantage_a_token_they_are_those_of_the_plain_loop_too(name, batch, ratio_unit, band, seed):
    s = segment(batch.layouts, ratio_unit)
    weights = REDUCTIONS["N1"](s)
    advantage = torch.randn(s.n_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    output = policy_objective_tokenwise(batch.logp, batch.old, advantage, s, weights, band, SURROGATES[name])
    same(output, batch.logp, expected(name, batch, s, weights, advantage, band))


@pytest.mark.parametrize("name", SURROGATES)
@given(st.floats(-4, 4, allow_nan=False), st.floats(-3, 3, allow_nan=False), bands)
def test_a_segment_of_one_token_has_its_closed_form(name, log_ratio, advantage, band):
    s = segment([UnitLayout((1,), (0,))], "token")
    logp = torch.tensor([-1.5 + min(log_ratio, 1.4)], dtype=torch.float64, requires_grad=True)
    old, a = torch.tensor([-1.5], dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64)
    weights = torch.ones(1, dtype=torch.float64)
    output = policy_objective(logp, old, a, s, weights, band, SURROGATES[name])
    same(output, logp, expected(name, type("B", (), {"logp": logp, "old": old}), s, weights, a, band))


@given(ragged_batches, bands)
def test_gmpo_of_one_token_segments_is_min_clip(batch, band):
    s = segment(batch.layouts, "token")
    arguments = (batch.logp, batch.old, batch.advantage, s, REDUCTIONS["N3"](s), band)
    losses = [policy_objective(*arguments, SURROGATES[name]).loss for name in ("gmpo", "min_clip")]
    gradients = [torch.autograd.grad(loss, batch.logp)[0] for loss in losses]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


def test_sapo_halves_the_gradient_where_its_gate_says_so():
    """4 s (1 - s) x at x = 1 is 1; at tau (x - 1) = log 3, s = 3/4 and the gate 3/4."""
    logp = torch.tensor([math.log(1 + math.log(3))], dtype=torch.float64, requires_grad=True)
    f = SURROGATES["sapo"](logp.exp(), torch.ones(1, dtype=torch.float64), ClipBand(0.2, 0.2))
    (slope,) = torch.autograd.grad(f.sum(), logp)
    assert float(slope) == pytest.approx(-0.75 * (1 + math.log(3)), abs=1e-12)


def test_dppo_masks_by_probability_and_not_by_ratio():
    """A rare token may double its ratio; a frequent one may not move by more than the band."""
    s = segment([UnitLayout((1,), (0,)), UnitLayout((1,), (0,))], "token")
    logp = torch.tensor([math.log(0.02), math.log(0.9)], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([math.log(0.01), math.log(0.7)], dtype=torch.float64)
    output = policy_objective(
        logp, old, torch.ones(2, dtype=torch.float64), s, torch.ones(2), ClipBand(0.15, 0.15), SURROGATES["dppo"]
    )
    assert torch.autograd.grad(output.loss, logp)[0].tolist() == pytest.approx([-2.0, 0.0], abs=1e-12)


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


@pytest.mark.parametrize("objective", [policy_objective, policy_objective_tokenwise])
@pytest.mark.parametrize(
    "surrogate",
    [
        lambda ratio, advantage, band: (ratio * advantage)[:1],
        TokenSurrogate(lambda tokens, advantage, band: tokens.logp * advantage),
    ],
)
def test_a_surrogate_of_another_shape_is_refused(objective, surrogate):
    batch = make_batch([[2, 1]])
    s = segment(batch.layouts, "subsequence")
    advantage = batch.advantage if objective is policy_objective else torch.ones(3)
    with pytest.raises(ValueError, match=r"surrogate \[[13]\]: \[[23]\] expected"):
        objective(batch.logp, batch.old, advantage, s, REDUCTIONS["N1"](s), ClipBand(0.2, 0.2), surrogate)
