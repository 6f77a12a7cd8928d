"""Clipping, rates, schedules and layout of a GAN."""

import math
from functools import partial

import pytest
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from lightning_colorize.tasks import WarmupCosine
from tests.tasks.conftest import NETWORKS, PLAIN, make_gan, train

LIMIT = 1e-3


def step_norm(step, prefix):
    """Return the norm of a step: with a learning rate of 1, the norm of the gradient."""
    squares = [
        (step.after[name] - step.before[name]).double().square().sum()
        for name in step.before
        if name.startswith(prefix)
    ]
    return math.sqrt(sum(squares))


def test_gradients_of_each_network_are_clipped_separately(data):
    plain = {"generator_optimizer": PLAIN, "discriminator_optimizer": PLAIN}
    free, clipped = (
        train(make_gan(**plain, gradient_clip_val=limit), data, max_steps=1)
        for limit in (None, LIMIT)
    )
    # The discriminator's step comes first: after it the two runs differ.
    norm = free.logged[0]["train/d_grad_norm"]
    assert norm > 10 * LIMIT
    assert clipped.logged[0]["train/d_grad_norm"] == norm
    assert step_norm(free.steps[0], "discriminator.") == pytest.approx(norm, rel=1e-3)
    assert step_norm(clipped.steps[0], "discriminator.") == pytest.approx(LIMIT, rel=1e-2)
    assert clipped.logged[0]["train/g_grad_norm"] > 10 * LIMIT
    assert step_norm(free.steps[1], "net.") == pytest.approx(
        free.logged[0]["train/g_grad_norm"], rel=1e-3
    )
    assert step_norm(clipped.steps[1], "net.") == pytest.approx(LIMIT, rel=1e-2)


EPOCHS = partial(StepLR, step_size=1, gamma=0.5)
BUDGET = partial(WarmupCosine, warmup=0.5, final=0.0)
BY_EPOCH = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
# Of six batches, three to warm up; then half a cosine to 0.
BY_BATCH = [0.01, 1 / 3, 2 / 3, 1.0, 0.75, 0.25]


@pytest.mark.parametrize(
    ("generator", "discriminator", "expected"),
    [
        (None, None, ([1.0] * 6, [1.0] * 6)),
        (EPOCHS, BUDGET, (BY_EPOCH, BY_BATCH)),
        (BUDGET, EPOCHS, (BY_BATCH, BY_EPOCH)),
        (None, EPOCHS, ([1.0] * 6, BY_EPOCH)),
    ],
)
def test_schedules_are_stepped(data, generator, discriminator, expected):
    slow = partial(SGD, lr=0.01)
    task = make_gan(
        generator_optimizer=slow,
        discriminator_optimizer=slow,
        generator_scheduler=generator,
        discriminator_scheduler=discriminator,
    )
    history = train(task, data, max_epochs=2)
    for network, shares in zip(NETWORKS, expected, strict=True):
        rates = [step.rate for step in history.steps if step.network == network]
        assert rates == pytest.approx([0.01 * share for share in shares])
