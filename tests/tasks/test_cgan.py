"""The order of a GAN's batch: who is called, who learns, what is counted."""

from functools import partial

import pytest
import torch

from lightning_colorize.networks import DeconvHead
from tests.tasks.conftest import STILL, changed, make_gan, train


def test_calls_of_each_network_in_a_batch(data):
    task = make_gan(ema_decay=0.9)
    drawn, judged, averaged = [], [], []
    task.net.register_forward_hook(lambda _, __, ab: drawn.append(ab))
    task.discriminator.register_forward_hook(lambda _, inputs, __: judged.append(inputs))
    task.averaged.register_forward_hook(lambda *_: averaged.append(1))
    task.averaged.module.register_forward_hook(lambda *_: averaged.append(1))
    diary = train(task, data, max_steps=2)
    assert (len(drawn), len(judged), len(averaged)) == (2, 6, 0)
    for number, (batch, ab_hat) in enumerate(zip(diary.batches, drawn, strict=True)):
        real, fake, live = judged[3 * number : 3 * number + 3]
        for L, _ in (real, fake, live):
            torch.testing.assert_close(L, batch.L / 50 - 1)
        torch.testing.assert_close(real[1], batch.ab / 110)
        assert torch.equal(fake[1], ab_hat)
        assert torch.equal(live[1], ab_hat)
        assert [ab.requires_grad for _, ab in (real, fake, live)] == [False, False, True]


def test_the_discriminator_judges_colors_and_not_the_heads_own_range(data):
    task = make_gan(head=partial(DeconvHead, target_range="0..1"))
    drawn, judged = [], []
    task.net.register_forward_hook(lambda _, __, prediction: drawn.append(prediction))
    task.discriminator.register_forward_hook(lambda _, inputs, __: judged.append(inputs[1]))
    diary = train(task, data, max_steps=1)
    torch.testing.assert_close(judged[0], diary.batches[0].ab / 110)
    for fake in judged[1:]:
        torch.testing.assert_close(fake, 2 * drawn[0] - 1)


def test_a_step_of_one_network_leaves_the_other_alone(data):
    task = make_gan(ema_decay=0.9)
    diary = train(task, data, max_steps=3)
    assert [step.network for step in diary.steps] == ["discriminator", "generator"] * 3
    for step in diary.steps:
        moved = changed(step.before, step.after)
        prefix = {"generator": "net.", "discriminator": "discriminator."}[step.network]
        assert moved
        assert all(name.startswith(prefix) for name in moved)


def test_gradients_do_not_add_up(one_batch):
    # The same images and weights in each batch: what is left of the last one would show.
    task = make_gan(generator_optimizer=STILL, discriminator_optimizer=STILL)
    logged = train(task, one_batch, max_steps=3).logged
    for name in ("train/d_grad_norm", "train/g_grad_norm"):
        first, *later = [figures[name] for figures in logged]
        assert first > 0
        assert later == pytest.approx([first] * 2, rel=1e-5)


def test_the_generators_step_leaves_no_gradient_in_the_discriminator(data):
    task = make_gan()
    gradients = []

    def keep(*_):
        gradients.append([p.grad.clone() for p in task.discriminator.parameters()])

    configured = task.configure_optimizers()
    configured[0][1].register_step_pre_hook(keep)
    task.configure_optimizers = lambda: configured
    train(task, data, max_steps=2)
    left = [p.grad for p in task.discriminator.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(gradients[-1], left, strict=True))
    assert all(p.requires_grad for p in task.discriminator.parameters())


EVERY = list(range(8))
EVEN = [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("options", "generator", "discriminator"),
    [
        ({}, EVERY, EVERY),
        ({"generator_every_n_batches": 2}, EVEN, EVERY),
        ({"discriminator_every_n_batches": 2}, EVERY, EVEN),
        # Three batches an epoch.
        ({"generator_epochs": 1, "discriminator_epochs": 1}, [0, 1, 2, 6, 7], [3, 4, 5, 6, 7]),
        (
            {"generator_epochs": 1, "generator_every_n_batches": 2},
            [0, 1, 2, 4, 6],
            [3, 4, 5, 6, 7],
        ),
    ],
)
def test_a_batch_is_one_counted_step(data, options, generator, discriminator):
    # The epochs end what does not count at all.
    diary = train(make_gan(**options), data, max_steps=8, max_epochs=4)
    assert len(diary.batches) == diary.trainer.global_step == 8
    assert diary.batches_of("generator") == generator
    assert diary.batches_of("discriminator") == discriminator


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator_every_n_batches": 2, "discriminator_every_n_batches": 3}, "one must be 1"),
        ({"gradient_clip_val": 0}, "must be above 0"),
        ({"gradient_clip_val": float("nan")}, "must be above 0"),
        ({"generator_epochs": -1}, "must not be negative"),
        ({"discriminator_epochs": -1}, "must not be negative"),
        ({"l1_weight": -1}, "must not be negative"),
        ({"generator_epochs": 1, "l1_weight": 0}, "would train nothing"),
    ],
)
def test_invalid_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_gan(**options)
