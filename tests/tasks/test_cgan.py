"""A GAN's training step: calls, updates, counted steps."""

from functools import partial

import pytest
import torch

from lightning_colorize.tasks import StepMilestones
from tests.tasks.conftest import STILL, changed, make_gan, train


def test_a_step_of_one_network_does_not_change_the_other(data):
    task = make_gan(ema_decay=0.9)
    history = train(task, data, max_steps=3)
    assert [step.network for step in history.steps] == ["discriminator", "generator"] * 3
    for step in history.steps:
        moved = changed(step.before, step.after)
        prefix = {"generator": "net.", "discriminator": "discriminator."}[step.network]
        assert moved
        assert all(name.startswith(prefix) for name in moved)


def test_gradients_do_not_accumulate(one_batch):
    # The same images and weights in each batch, so remaining gradients would show.
    task = make_gan(generator_optimizer=STILL, discriminator_optimizer=STILL)
    logged = train(task, one_batch, max_steps=3).logged
    for name in ("train/d_grad_norm", "train/g_grad_norm"):
        first, *later = [values[name] for values in logged]
        assert first > 0
        assert later == pytest.approx([first] * 2, rel=1e-5)


def test_accumulated_gradients_are_the_mean_of_the_batches(one_batch):
    still = {"generator_optimizer": STILL, "discriminator_optimizer": STILL}
    alone = train(make_gan(**still), one_batch, max_steps=1).logged[-1]
    history = train(
        make_gan(**still, accumulate_grad_batches=3), one_batch, max_steps=2, max_epochs=2
    )
    for last in (2, 5):
        for name in ("train/d_grad_norm", "train/g_grad_norm"):
            assert history.logged[last][name] == pytest.approx(alone[name], rel=1e-5)


def test_accumulated_batches_are_one_counted_step(data):
    task = make_gan(accumulate_grad_batches=2, ema_decay=0.9, generator_scheduler=HALVED)
    history = train(task, data, max_epochs=2)
    # Three batches an epoch, of which the last is a step.
    for network in ("generator", "discriminator"):
        assert history.batches_of(network) == [1, 2, 4, 5]
    assert history.trainer.global_step == 4
    assert task.averaged.n_averaged == 4
    rates = [step.rate for step in history.steps if step.network == "generator"]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 5e-5])
    train_again = history.trainer
    train_again.fit_loop.max_epochs = 3
    train_again.fit(task, data)  # Lightning refuses a Trainer that accumulates
    assert train_again.global_step == 6


@pytest.mark.parametrize(
    ("every", "generator"), [(1, [1, 3, 5, 7]), (2, [1, 3, 5, 7]), (4, [1, 5]), (8, [1])]
)
def test_accumulated_batches_count_as_batches(one_batch, every, generator):
    one_batch.batch_size = 1  # twelve batches an epoch
    task = make_gan(accumulate_grad_batches=2, generator_every_n_batches=every)
    history = train(task, one_batch, max_steps=4)
    assert history.batches_of("generator") == generator
    assert history.batches_of("discriminator") == [1, 3, 5, 7]


def test_the_generators_step_leaves_no_gradient_in_the_discriminator(data):
    task = make_gan()
    gradients = []

    def record(*_):
        gradients.append([p.grad.clone() for p in task.discriminator.parameters()])

    configured = task.configure_optimizers()
    configured[0][1].register_step_pre_hook(record)
    task.configure_optimizers = lambda: configured
    train(task, data, max_steps=2)
    remaining = [p.grad for p in task.discriminator.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(gradients[-1], remaining, strict=True))
    assert all(p.requires_grad for p in task.discriminator.parameters())


HALVED = partial(StepMilestones, milestones=[2, 3], gamma=0.5)
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
        ({"generator_epochs": 1, "generator_every_n_batches": 2}, [0, 1, 2, 4, 6], [3, 4, 5, 6, 7]),
    ],
)
def test_a_batch_is_one_counted_step(data, options, generator, discriminator):
    # max_epochs ends a run that counts no steps.
    history = train(make_gan(**options), data, max_steps=8, max_epochs=4)
    assert len(history.batches) == history.trainer.global_step == 8
    assert history.batches_of("generator") == generator
    assert history.batches_of("discriminator") == discriminator


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator_every_n_batches": 2, "discriminator_every_n_batches": 3}, "one must be 1"),
        ({"accumulate_grad_batches": 0}, "at least 1"),
        ({"accumulate_grad_batches": 2, "generator_every_n_batches": 3}, "must be a multiple of"),
        ({"gradient_clip_val": 0}, "must be above 0"),
        ({"gradient_clip_val": float("nan")}, "must be above 0"),
        ({"generator_epochs": -1}, "must not be negative"),
        ({"discriminator_epochs": -1}, "must not be negative"),
        ({"loss_weight": -1}, "must not be negative"),
        ({"generator_epochs": 1, "loss_weight": 0}, "would train nothing"),
    ],
)
def test_invalid_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_gan(**options)
