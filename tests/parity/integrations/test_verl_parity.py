"""Our objectives against verl's `core_algos`, imported from its package, in float64, value and gradient.

Known differences:
- `vanilla` clips twice: for A < 0 a ratio above `clip_ratio_c` = 3 has loss 3|A| and no gradient (1912.09729);
- `gspo` bounds the log-ratio at +10 only, ours at +-20;
- a row without policy tokens counts in B here (and in TRL), but not in verl unless it is given the global batch size;
- `cispo` multiplies log pi, ours log pi - log pi_old: values differ by a term without gradient, which is added here;
- `geo_mean` takes its band in logarithms;
- `dppo_tv` truncates ratios at `clip_ratio_c` and has the value of -A x log pi: gradients are compared;
- verl's k3 is cut off at 10 a token, ours where |ref - logp| = 20;
- equal rewards: verl leaves the rounding of the mean divided by 1e-6 (below 1e-9 here), ours are exactly 0.
"""

import math

import numpy as np
import pytest
import torch

from harness.integrations.mask_runs import segment_mask_runs
from harness.objectives.advantages import group_relative, leave_one_out
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import kl_k3, policy_objective, summarize
from harness.objectives.ratio_units import UnitLayout
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean
from harness.objectives.segmentation import segment
from harness.objectives.surrogates import SURROGATES
from harness.objectives.turn_credit import turn_credit
from harness.objectives.turn_table import TurnTable
from tests.parity.integrations.padded_batches import BATCHES, Padded, padded_batch

core_algos = pytest.importorskip(
    "verl.trainer.ppo.core_algos", reason="parity with verl needs the package verl (test requirements)"
)

BAND = ClipBand(0.2, 0.28)


def actor_config(low=BAND.low, high=BAND.high, **settings):
    from verl.workers.config import ActorConfig

    return ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=low,
        clip_ratio_high=high,
        **settings,
    )


def verl_loss(batch: Padded, name, mode="seq-mean-token-mean", rows=slice(None), settings=None, **global_batch):
    loss, metrics = core_algos.get_policy_loss_fn(name)(
        old_log_prob=batch.old[rows],
        log_prob=batch.logp[rows],
        advantages=batch.advantage[rows].unsqueeze(1) * batch.mask[rows],
        response_mask=batch.mask[rows],
        loss_agg_mode=mode,
        config=actor_config(global_batch_info=global_batch, **(settings or {})),
    )
    (gradient,) = torch.autograd.grad(loss, batch.logp)
    assert (gradient[batch.mask == 0] == 0).all()
    return loss.detach(), gradient[batch.mask.bool()], metrics


def segmentation_of(batch: Padded, ratio_unit):
    if ratio_unit == "subsequence":
        return segment_mask_runs(batch.mask)
    lengths = batch.mask.sum(dim=1).tolist()
    return segment([UnitLayout((n,) if n else (), (0,) if n else ()) for n in lengths], ratio_unit)


def our_loss(batch: Padded, ratio_unit, reduction, surrogate="min_clip", band=BAND):
    policy, segmentation = batch.mask.bool(), segmentation_of(batch, ratio_unit)
    weights, f = REDUCTIONS[reduction](segmentation), SURROGATES[surrogate]
    output = policy_objective(batch.logp[policy], batch.old[policy], batch.advantage, segmentation, weights, band, f)
    (gradient,) = torch.autograd.grad(output.loss, batch.logp)
    return output.loss.detach(), gradient[policy], output


def same(theirs, ours, tolerance=1e-7):
    """verl's seq-mean-token-mean divides by n_i + 1e-8, hence the tolerance."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=tolerance, atol=1e-9)
    torch.testing.assert_close(ours[1], theirs[1], rtol=tolerance, atol=1e-9)


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize(
    ("name", "mode", "ratio_unit", "reduction"),
    [
        ("vanilla", "seq-mean-token-mean", "token", "N3"),  # GRPO
        ("vanilla", "token-mean", "token", "N4"),  # DAPO
        ("vanilla", "seq-mean-token-sum", "token", "seq-mean-token-sum"),  # Dr. GRPO, but for 1 / L_max
        ("gspo", "seq-mean-token-mean", "sequence", "N1"),  # GSPO
        ("gspo", "token-mean", "sequence", "N4"),
    ],
)
def test_verl_has_the_same_loss_and_gradient(case, name, mode, ratio_unit, reduction):
    same(verl_loss(BATCHES[case], name, mode), our_loss(BATCHES[case], ratio_unit, reduction))


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize(("mode", "reduction"), [("seq-mean-token-mean", "N3"), ("token-mean", "N4")])
def test_verl_has_the_same_cispo(case, mode, reduction):
    batch, policy = BATCHES[case], BATCHES[case].mask.bool()
    ratio = (batch.logp - batch.old).detach().exp()[policy].clamp(1 - BAND.low, 1 + BAND.high)
    advantage = batch.advantage.unsqueeze(1).expand(batch.mask.shape)[policy]
    constant = (REDUCTIONS[reduction](segmentation_of(batch, "token")) * -ratio * advantage * batch.old[policy]).sum()
    loss, gradient, _ = our_loss(batch, "token", reduction, "cispo")
    same(verl_loss(batch, "cispo", mode), (loss + constant, gradient))


@pytest.mark.parametrize("case", BATCHES)
def test_verl_has_the_same_sapo(case):
    same(verl_loss(BATCHES[case], "sapo"), our_loss(BATCHES[case], "token", "N3", "sapo"))


@pytest.mark.parametrize("case", BATCHES)
def test_verl_has_the_same_gmpo(case):
    band = ClipBand(1 - math.exp(-0.2), math.expm1(0.28))
    same(verl_loss(BATCHES[case], "geo_mean"), our_loss(BATCHES[case], "sequence", "N1", "gmpo", band))


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize(("mode", "reduction"), [("seq-mean-token-mean", "N3"), ("token-mean", "N4")])
def test_verl_has_the_same_dppo_gradient(case, mode, reduction):
    band = ClipBand(0.02, 0.03)  # narrow: probabilities of these batches are small
    theirs = verl_loss(BATCHES[case], "dppo_tv", mode, settings={"low": band.low, "high": band.high})
    ours = our_loss(BATCHES[case], "token", reduction, "dppo", band)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-7, atol=1e-9)
    if case == "several units":
        assert 0 < int((theirs[1] == 0).sum()) < len(theirs[1])


def test_verls_dual_clip_is_the_difference_where_a_bad_tokens_ratio_exceeds_three():
    mask = torch.ones(1, 2, dtype=torch.int64)
    old = torch.full((1, 2), -2.0, dtype=torch.float64)
    delta = torch.tensor([[1.2, 0.1]], dtype=torch.float64)  # exp(1.2) = 3.32
    batch = Padded(mask, (old + delta).requires_grad_(), old, torch.tensor([-1.0], dtype=torch.float64))
    theirs, ours = verl_loss(batch, "vanilla"), our_loss(batch, "token", "N3")
    assert float(ours[0] - theirs[0]) == pytest.approx((float(np.exp(1.2)) - 3) / 2, abs=1e-7)
    assert theirs[1].tolist()[0] == 0
    assert ours[1].tolist()[0] > 0


def test_verl_leaves_a_row_without_policy_tokens_out_of_the_batch_size():
    batch = padded_batch([[2, 3], [], [4]], seed=6)
    ours = our_loss(batch, "token", "N3")
    same(verl_loss(batch, "vanilla"), (ours[0] * 3 / 2, ours[1] * 3 / 2))
    same(verl_loss(batch, "vanilla", global_batch_size=3), ours)


@pytest.mark.parametrize(("name", "ratio_unit"), [("vanilla", "token"), ("gspo", "sequence")])
def test_verl_counts_the_same_share_of_clipped_tokens(name, ratio_unit):
    batch = BATCHES["wide ratios"]
    share = verl_loss(batch, name)[2]["actor/pg_clipfrac"]
    ours = summarize([our_loss(batch, ratio_unit, "N1")[2]])["clip_fraction_tokens"]
    assert share == pytest.approx(float(ours), abs=1e-6)
    assert share > 0


def test_verl_has_the_same_kl_term():
    batch = BATCHES["several units"]
    reference = batch.old + 0.2 * torch.randn(batch.old.shape, generator=torch.Generator().manual_seed(1))
    kld = core_algos.kl_penalty(batch.logp, reference, "low_var_kl")
    theirs = core_algos.agg_loss(kld, batch.mask, "seq-mean-token-mean")
    policy = batch.mask.bool()
    ours = (seq_mean_token_mean(segment_mask_runs(batch.mask)) * kl_k3(batch.logp[policy], reference[policy])).sum()
    gradients = [torch.autograd.grad(x, batch.logp)[0][policy] for x in (theirs, ours)]
    same((theirs.detach(), gradients[0]), (ours.detach(), gradients[1]))
    torch.testing.assert_close(kl_k3(batch.logp, reference), kld)


def test_verl_has_the_same_advantages():
    """Groups in any order, one singleton, one of equal rewards."""
    groups = np.array(["a", "b", "a", "solo", "b", "equal", "a", "equal", "equal"])
    rewards = torch.tensor([1.0, -1.5, 0.5, -0.5, 0.0, 0.1, -1.0, 0.1, 0.1], dtype=torch.float64)
    mask = torch.ones(len(rewards), 3, dtype=torch.float64)
    theirs, _ = core_algos.compute_grpo_outcome_advantage(
        torch.nn.functional.pad(rewards.unsqueeze(1), (2, 0)), mask, groups
    )
    labels = torch.from_numpy(np.unique(groups, return_inverse=True)[1])
    ours = group_relative(rewards, labels)
    torch.testing.assert_close(ours, theirs[:, 0], rtol=0, atol=1e-7)  # verl adds 1 + 1e-6 of a singleton in float32
    assert ours[groups == "equal"].tolist() == [0.0, 0.0, 0.0]


def advantage_tensors(turns):
    """(question, tokens of each turn, outcome) of episodes as verl sees them: [B, L], observations masked out."""
    mask = torch.zeros(len(turns), 1 + max(sum(lengths) + len(lengths) for _, lengths, _ in turns))
    rewards = torch.zeros_like(mask, dtype=torch.float64)
    for i, (_, lengths, outcome) in enumerate(turns):
        at = 0
        for n in lengths:
            mask[i, at : at + n] = 1
            rewards[i, at + n - 1] = outcome * (at + n == sum(lengths) + len(lengths) - 1)
            at += n + 1
    return rewards, mask.double()


EPISODES = [(0, [3, 2], 1.0), (0, [4], -1.5), (1, [1, 1, 2], 0.5), (1, [5], 0.5), (2, [2], 1.0), (2, [6, 1], 0.0)]


def our_credit(**axes):
    flat = [(i, q, n, r * (k == len(lengths) - 1)) for i, (q, lengths, r) in enumerate(EPISODES)
            for k, n in enumerate(lengths)]  # fmt: skip
    owner, question, tokens, reward = (torch.tensor(column) for column in zip(*flat, strict=True))
    table = TurnTable(reward.double(), owner, question, question, tokens, owner < 0)
    return turn_credit(table, **axes).repeat_interleave(tokens)


def test_verl_has_the_same_reinforce_plus_plus():
    rewards, mask = advantage_tensors(EPISODES)
    config = type("Config", (), {"gamma": 1.0})()
    theirs, _ = core_algos.compute_reinforce_plus_plus_outcome_advantage(rewards, mask, config=config)
    ours = our_credit(returns="to_go", group="batch", scale="std", counts="token")
    torch.testing.assert_close(ours, theirs[mask.bool()], rtol=2e-6, atol=1e-9)  # epsilon: on std, and on the variance


def test_verl_has_the_same_leave_one_out():
    rewards, mask = advantage_tensors(EPISODES)
    questions = np.array([q for q, _, _ in EPISODES])
    theirs, _ = core_algos.compute_rloo_outcome_advantage(rewards, mask, questions)
    by_turn = our_credit(returns="broadcast", group="leave_one_out", scale="none", counts="trajectory")
    torch.testing.assert_close(by_turn, theirs[mask.bool()], rtol=1e-12, atol=1e-12)
    outcomes = torch.tensor([r for _, _, r in EPISODES], dtype=torch.float64)
    ours = leave_one_out(outcomes, torch.from_numpy(questions))
    torch.testing.assert_close(ours, theirs[:, 0], rtol=1e-12, atol=1e-12)
