"""The verl policy loss `gsspo` against our objective: alone, and through verl's own actor loss."""

import pytest
import torch

from harness.integrations.mask_runs import segment_mask_runs
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import kl_k3, policy_objective
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean
from tests.parity.integrations.padded_batches import BATCHES, Padded, padded_batch

core_algos = pytest.importorskip(
    "verl.trainer.ppo.core_algos", reason="the verl integration needs the package verl (test requirements)"
)

BAND = ClipBand(0.1, 0.15)


@pytest.fixture(autouse=True)
def loaded_as_verl_does():
    """Import as in each of verl's workers, by `actor_rollout_ref.model.external_lib`."""
    from verl.utils.import_utils import import_external_libs

    import_external_libs("harness.integrations.verl")


def actor_config(**settings):
    from verl.workers.config import ActorConfig, PolicyLossConfig

    return ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=BAND.low,
        clip_ratio_high=BAND.high,
        loss_agg_mode="seq-mean-token-mean",
        policy_loss=PolicyLossConfig(loss_mode="gsspo"),
        **settings,
    )


def reference(batch: Padded, kl_weight=0.0, ref=None):
    policy, segmentation = batch.mask.bool(), segment_mask_runs(batch.mask)
    weights = REDUCTIONS["N1"](segmentation)
    loss = policy_objective(batch.logp[policy], batch.old[policy], batch.advantage, segmentation, weights, BAND).loss
    if kl_weight:
        loss = loss + kl_weight * (seq_mean_token_mean(segmentation) * kl_k3(batch.logp[policy], ref[policy])).sum()
    (gradient,) = torch.autograd.grad(loss, batch.logp)
    return loss.detach(), gradient


def through_verl(batch: Padded, rows=slice(None), **global_batch):
    loss, metrics = core_algos.get_policy_loss_fn("gsspo")(
        old_log_prob=batch.old[rows],
        log_prob=batch.logp[rows],
        advantages=(batch.advantage.unsqueeze(1) * batch.mask)[rows],
        response_mask=batch.mask[rows],
        loss_agg_mode="seq-mean-token-mean",
        config=actor_config(global_batch_info=global_batch),
        rollout_is_weights=None,
    )
    (gradient,) = torch.autograd.grad(loss, batch.logp)
    return loss.detach(), gradient, metrics


def same(theirs, ours):
    torch.testing.assert_close(theirs[0], ours[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(theirs[1], ours[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", BATCHES)
def test_the_loss_and_its_gradient_are_gsspos(case):
    same(through_verl(BATCHES[case]), reference(BATCHES[case]))


def test_with_one_unit_a_row_it_is_verls_own_gspo():
    batch = padded_batch([[4], [1], [7]], seed=9)
    gspo, _ = core_algos.get_policy_loss_fn("gspo")(
        batch.old,
        batch.logp,
        batch.advantage.unsqueeze(1) * batch.mask,
        batch.mask,
        "seq-mean-token-mean",
        actor_config(),
    )
    torch.testing.assert_close(through_verl(batch)[0], gspo.detach(), rtol=1e-7, atol=1e-9)


def test_micro_batches_of_any_size_add_up_to_the_whole_batch():
    batch = padded_batch([[3, 1], [9], [2, 2, 2], [], [5, 4]], seed=8)
    parts = [through_verl(batch, rows, global_batch_size=5, dp_size=1) for rows in (slice(0, 1), slice(1, 4), [4])]
    same((sum(p[0] for p in parts), sum(p[1] for p in parts)), reference(batch))


def test_data_parallel_ranks_average_to_the_whole_batch():
    batch = padded_batch([[3, 1], [9], [2, 2, 2], [5, 4]], seed=8)
    ranks = [through_verl(batch, rows, global_batch_size=4, dp_size=2) for rows in (slice(0, 2), slice(2, 4))]
    same((sum(r[0] for r in ranks) / 2, sum(r[1] for r in ranks) / 2), reference(batch))


def test_verls_actor_loss_calls_it_and_adds_its_own_kl_term():
    """`ppo_loss` as a worker runs it, from the flat log-probs of prompts and responses."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils
    from verl.workers.utils.losses import ppo_loss

    batch = BATCHES["several units"]
    rows, width = batch.mask.shape
    ref = batch.old + 0.1 * torch.randn(batch.old.shape, generator=torch.Generator().manual_seed(2))
    ids = torch.ones(rows, width, dtype=torch.int64)
    data = TensorDict(
        {
            "prompts": ids[:, :2],
            "responses": ids,
            "attention_mask": torch.ones(rows, width + 2, dtype=torch.int64),
            "response_mask": batch.mask,
            "old_log_probs": batch.old,
            "advantages": batch.advantage.unsqueeze(1) * batch.mask,
            "ref_log_prob": ref,
        },
        batch_size=rows,
    )
    for name, value in {"dp_size": 1, "batch_num_tokens": int(batch.mask.sum()), "global_batch_size": rows}.items():
        tensordict_utils.assign_non_tensor_data(data, name, value)
    # the model's log-prob of token t stands at position t - 1
    flat = torch.nn.functional.pad(batch.logp, (1, 1)).reshape(-1)
    loss, metrics = ppo_loss(actor_config(use_kl_loss=True, kl_loss_coef=0.05), {"log_probs": flat}, data)
    (gradient,) = torch.autograd.grad(loss, batch.logp)
    torch.testing.assert_close(loss.detach(), reference(batch, 0.05, ref)[0], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(gradient, reference(batch, 0.05, ref)[1], rtol=1e-7, atol=1e-9)
    assert "actor/pg_clipfrac" in metrics


def test_the_reported_clip_fraction_is_that_of_units():
    batch = BATCHES["wide ratios"]
    policy, segmentation = batch.mask.bool(), segment_mask_runs(batch.mask)
    weights = REDUCTIONS["N1"](segmentation)
    output = policy_objective(batch.logp[policy], batch.old[policy], batch.advantage, segmentation, weights, BAND)
    assert 0 < float(output.clipped.double().mean()) == pytest.approx(through_verl(batch)[2]["actor/pg_clipfrac"])


def test_a_batch_without_any_policy_token_has_no_loss():
    loss, gradient, _ = through_verl(padded_batch([[], []]))
    assert float(loss) == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize(
    "settings", [{"loss_agg_mode": "token-mean"}, {"rollout_is_weights": torch.ones(2, 3)}, {"config": None}]
)
def test_what_it_cannot_honour_is_refused(settings):
    zeros = torch.zeros(2, 3)
    settings = {"config": actor_config(), "loss_agg_mode": "seq-mean-token-mean"} | settings
    with pytest.raises(ValueError, match="gsspo"):
        core_algos.get_policy_loss_fn("gsspo")(zeros, zeros, zeros, torch.ones(2, 3), **settings)
