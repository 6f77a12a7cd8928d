"""A GAN's stages: the generator alone, the discriminator alone, then both."""

import pytest
import torch

from tests.tasks.conftest import changed, make_gan, train


@pytest.fixture
def staged(data):
    """A GAN of three epochs, one a stage, of three batches each; and what it did."""
    task = make_gan(generator_epochs=1, discriminator_epochs=1, ema_decay=0.9)
    judged = []
    task.discriminator.register_forward_hook(
        lambda *_: judged.append(len(diary_of(task).batches) - 1)
    )
    diary = train(task, data, max_epochs=3)
    assert len(diary.batches) == diary.trainer.global_step == 9
    return task, diary, judged


def diary_of(task):
    return task.trainer.callbacks[0]


def test_only_the_stages_own_networks_change(staged):
    task, diary, judged = staged
    start, alone, judge, both = (diary.states[3 * epoch] for epoch in range(4))
    assert changed(start, alone, "net.")
    assert changed(start, alone, "averaged.")
    assert not changed(start, alone, "discriminator.")
    assert changed(alone, judge, "discriminator.")
    assert not changed(alone, judge, "averaged.")
    # Its batch norm still updates its statistics; its parameters stay.
    parameters = {f"net.{name}" for name, _ in task.net.named_parameters()}
    assert not changed(alone, judge, "net.") & parameters
    for prefix in ("net.", "averaged.", "discriminator."):
        assert changed(judge, both, prefix), prefix
    # Not at all, on true and false, then for the generator too.
    assert [judged.count(batch) for batch in range(9)] == [0] * 3 + [2] * 3 + [3] * 3


def test_each_stage_logs_its_own_metrics(staged):
    _, diary, _ = staged
    generator = {"train/loss", "train/l1", "train/g_grad_norm"}
    discriminator = {
        *("train/d_loss", "train/d_real", "train/d_fake"),
        *("train/d_accuracy", "train/d_grad_norm"),
    }
    figures = {"train/colorfulness_ratio", "train/ab_corr", "train/diversity"}
    both = generator | discriminator | {"train/g_adversarial"}
    for batch, names in enumerate([generator] * 3 + [discriminator] * 3 + [both] * 3):
        assert set(diary.logged[batch]) == names | figures
    for logged in diary.logged[:3]:
        assert logged["train/loss"] == pytest.approx(100 * logged["train/l1"], rel=1e-6)


def test_the_discriminator_alone_draws_no_gradient_through_the_generator(data):
    task = make_gan(discriminator_epochs=1)
    drawn = []
    task.net.register_forward_hook(lambda _, __, ab: drawn.append(ab.requires_grad))
    train(task, data, max_epochs=2)
    assert drawn == [False] * 3 + [True] * 3
    assert torch.is_grad_enabled()
