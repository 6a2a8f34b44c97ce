"""The matched band in simulation: does it hold the clipped share it promises?"""

import json
import math

import numpy as np
import pytest
import torch

from harness.objectives.clip import FixedClip, MatchedClip
from harness.objectives.clip_settings import ClipBand, ClipSettings
from harness.objectives.surrogates import is_clipped


def matched_clip(low, high, target, **rate):
    return MatchedClip(ClipSettings(low, high, kind="matched", target=target), **rate)


def units(rng, spread, n=400, tokens=1):
    """Ratios of n units of `tokens` tokens whose token log-ratios have this standard deviation; random advantages."""
    log_ratio = spread * rng.standard_normal((n, tokens)).mean(axis=1)
    return torch.from_numpy(np.exp(log_ratio)), torch.from_numpy(rng.choice([-1.2, -0.3, 0.4, 1.5], size=n))


def share(clip, ratio, advantage):
    return float(is_clipped(ratio, advantage, clip.band).double().mean())


def simulate(clip, batches):
    """Clipped share of each batch under the band that was set before it was seen."""
    shares = []
    for ratio, advantage in batches:
        shares.append(share(clip, ratio, advantage))
        clip = clip.observe(ratio, advantage)
    return clip, shares


@pytest.mark.parametrize("target", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("spread", [1e-4, 0.02, 0.5])
def test_the_target_share_is_held_from_the_second_batch_on(target, spread):
    rng = np.random.default_rng(0)
    _, shares = simulate(matched_clip(0.2, 0.2, target), [units(rng, spread) for _ in range(40)])
    assert np.mean(shares[1:]) == pytest.approx(target, abs=0.01)
    assert np.abs(np.array(shares[1:]) - target).max() < 0.1


@pytest.mark.parametrize("growth", [0.97, 1.03])
def test_the_target_share_is_held_while_ratios_widen_or_narrow(growth):
    rng = np.random.default_rng(1)
    batches = [units(rng, 0.01 * growth**i) for i in range(100)]
    _, shares = simulate(matched_clip(0.2, 0.2, target=0.1), batches)
    assert np.mean(shares[1:]) == pytest.approx(0.1, abs=0.03)


def test_the_band_recovers_from_a_sudden_change():
    rng = np.random.default_rng(2)
    clip, _ = simulate(matched_clip(0.2, 0.2, target=0.1), [units(rng, 0.01) for _ in range(20)])
    clip, shares = simulate(clip, [units(rng, 0.1) for _ in range(30)])
    assert shares[0] > 0.3
    assert np.mean(shares[15:]) == pytest.approx(0.1, abs=0.02)


def test_arms_with_units_of_any_length_clip_the_same_share():
    """The point of it: at one fixed band, tokens clip often and sequences never."""
    matched, fixed = [], []
    for tokens in (1, 8, 64):
        rng = np.random.default_rng(3)
        batches = [units(rng, 0.2, tokens=tokens) for _ in range(30)]
        matched.append(np.mean(simulate(matched_clip(0.2, 0.2, target=0.1), batches)[1][1:]))
        fixed.append(np.mean(simulate(FixedClip(0.2, 0.2), batches)[1]))
    assert fixed[0] > 0.1
    assert fixed[-1] == 0
    assert np.ptp(matched) < 0.01


def test_the_share_is_held_over_the_updates_of_a_rollout_batch_pooled():
    """Four updates a batch: ratios are all 1 in the first and widen from there. Their mean share is the target."""
    rng = np.random.default_rng(4)
    clip, shares = matched_clip(0.2, 0.2, target=0.05), []
    for _ in range(60):
        updates = [units(rng, 0.01 * u, n=100) for u in range(4)]
        shares.append(np.mean([share(clip, *u) for u in updates]))
        clip = clip.observe(*(torch.cat(part) for part in zip(*updates, strict=True)))
    assert np.mean(shares[1:]) == pytest.approx(0.05, abs=0.005)


def test_ratios_that_have_not_moved_teach_nothing():
    clip = matched_clip(0.2, 0.3, target=0.1)
    advantage = torch.tensor([1.0, -1.0, 0.5])
    assert clip.observe(torch.ones(3), advantage) == clip
    assert clip.observe(1 + 1e-7 * torch.randn(3, dtype=torch.float64), advantage) == clip
    assert clip.observe(torch.ones(0), torch.ones(0)) == clip


def test_units_without_an_advantage_do_not_count():
    rng = np.random.default_rng(5)
    ratio, advantage = units(rng, 0.1)
    idle = torch.cat([ratio, torch.full((1000,), 50.0)]), torch.cat([advantage, torch.zeros(1000)])
    clip = matched_clip(0.2, 0.2, target=0.1)
    assert clip.observe(*idle) == clip.observe(ratio, advantage)
    assert clip.observe(torch.full((5,), 50.0), torch.zeros(5)) == clip


def test_after_one_batch_the_band_would_have_clipped_exactly_the_target_share_of_it():
    rng = np.random.default_rng(6)
    ratio, advantage = units(rng, 0.3, n=200)
    clip = matched_clip(3e-4, 4e-4, target=0.1).observe(ratio, advantage)
    assert int(is_clipped(ratio, advantage, clip.band).sum()) in (20, 21)  # the edge unit may round to either side
    assert clip.band.high / clip.band.low == pytest.approx(4 / 3)


def test_a_share_that_cannot_be_reached_gives_the_narrowest_band_not_an_error():
    clip = matched_clip(0.2, 0.2, target=0.5)
    ratio, advantage = torch.tensor([1.5] + [1.0] * 9), torch.tensor([1.0] * 10)
    for _ in range(30):
        clip = clip.observe(ratio, advantage)
    assert 0 < clip.band.low < 1e-5
    assert share(clip, ratio, advantage) == 0.1


def test_infinite_ratios_keep_the_band_finite():
    clip = matched_clip(0.2, 0.2, target=0.1).observe(torch.full((10,), math.exp(20)), torch.ones(10))
    assert math.isfinite(clip.band.high)


def test_a_restored_state_goes_on_as_if_never_interrupted():
    rng = np.random.default_rng(7)
    batches = [units(rng, 0.05) for _ in range(10)]
    half, _ = simulate(matched_clip(0.2, 0.28, target=0.1), batches[:5])
    resumed = matched_clip(0.2, 0.28, target=0.1).restore(json.loads(json.dumps(half.state())))
    assert simulate(resumed, batches[5:]) == simulate(half, batches[5:])


def test_a_fixed_band_stays_and_survives_a_checkpoint():
    clip = FixedClip(0.2, 0.28)
    assert clip.observe(torch.tensor([5.0]), torch.tensor([1.0])).band == ClipBand(0.2, 0.28)
    assert clip.restore(json.loads(json.dumps(clip.state()))) == clip


@pytest.mark.parametrize("bad", [(0.0, 0.2), (0.2, -0.1), (math.nan, 0.2)])
def test_a_band_without_width_is_refused(bad):
    with pytest.raises(ValueError, match="positive"):
        ClipBand(*bad)


@pytest.mark.parametrize(("target", "rate"), [(0.0, 0.3), (1.0, 0.3), (0.1, 0.0), (0.1, 1.1)])
def test_an_impossible_target_or_rate_is_refused(target, rate):
    with pytest.raises(ValueError):
        matched_clip(0.2, 0.2, target, rate=rate)
