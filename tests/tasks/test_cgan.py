"""The CGAN task: its steps, losses, options and stages."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from lightning_colorize.losses import L1, LSGAN, MSE, BCEAdversarial, Hinge, WeightedSum
from lightning_colorize.networks import Discriminator
from lightning_colorize.tasks import StepMilestones, WarmupCosine
from tests.tasks.conftest import NETWORKS, PLAIN, STILL, changed, make_gan, paint, state, train


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


# Both are exact in bf16.
REAL, FAKE = 0.75, -0.5

# log(1 + e^-0.75) + log(1 + e^-0.5), and so on; the generator's loss takes FAKE as real.
LOSSES = {
    "cross-entropy": (BCEAdversarial, 0.3868713 + 0.4740770, 0.9740770),
    "least squares": (LSGAN, 0.25**2 + 0.5**2, 1.5**2),
    "hinge": (Hinge, 0.25 + 0.5, 0.5),
}


class FixedLogits(Discriminator):
    """Returns one logit for true colors and another for a single color, in autocast's precision."""

    smallest = 1

    def __init__(self, real=REAL, fake=FAKE):
        super().__init__()
        self.logits = real, fake
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, L, ab):
        one_color = (ab == ab[:, :, :1, :1]).all()
        logits = self.logits[int(one_color)] + self.offset + 0 * ab[:, :1]
        return logits.bfloat16() if torch.is_autocast_enabled("cpu") else logits


def make_fixed_gan(*, real=REAL, fake=FAKE, **options):
    task = make_gan(
        discriminator=FixedLogits(real, fake),
        generator_optimizer=STILL,
        discriminator_optimizer=STILL,
        **options,
    )
    paint(task.net, 30.0, -20.0)
    return task


def first_batch(task, data, **options):
    history = train(task, data, max_steps=1, **options)
    return history.batches[0], history.logged[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_hand(data, loss, precision):
    adversarial, discriminator, generator = LOSSES[loss]
    task = make_fixed_gan(loss=adversarial(), loss_weight=7.0)
    if precision == "bf16-mixed":
        # tanh is in fp32, so this color is exact too.
        task.net.head.conv.bias.data.copy_(torch.tensor([0.25, -0.125]))
    a, b = 110 * task.net.head.conv.bias.detach().tanh()
    batch, logged = first_batch(task, data, precision=precision)
    l1 = ((batch.ab[:, 0] - a).abs().mean() + (batch.ab[:, 1] - b).abs().mean()).item() / 220
    assert logged["train/content"] == pytest.approx(l1, rel=1e-5)
    assert logged["train/d_loss"] == pytest.approx(discriminator, rel=1e-6)
    assert logged["train/g_adversarial"] == pytest.approx(generator, rel=1e-6)
    assert logged["train/loss"] == pytest.approx(generator + 7.0 * l1, rel=1e-5)


def test_any_content_loss(data):
    loss = WeightedSum({"l1": L1(), "mse": MSE()}, {"l1": 2.0, "mse": 3.0})
    task = make_fixed_gan(loss_weight=0.5, content=loss)
    batch, logged = first_batch(task, data)
    error = (batch.ab - torch.tensor([30.0, -20.0]).view(1, 2, 1, 1)) / 110
    l1, mse = 2 * error.abs().mean().item(), 3 * error.square().mean().item()
    assert logged["train/l1"] == pytest.approx(l1, rel=1e-4)
    assert logged["train/mse"] == pytest.approx(mse, rel=1e-4)
    assert logged["train/content"] == pytest.approx(l1 + mse, rel=1e-4)
    expected = LOSSES["cross-entropy"][2] + 0.5 * (l1 + mse)
    assert logged["train/loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "real", "fake", "accuracy", "scores"),
    [
        (BCEAdversarial, 0.75, -0.5, 1.0, (0.6791787, 0.3775407)),
        (BCEAdversarial, 0.75, 0.5, 0.5, (0.6791787, 0.6224593)),
        (LSGAN, 0.75, 0.25, 1.0, (0.75, 0.25)),
        (Hinge, 0.75, 0.25, 0.5, (0.75, 0.25)),
    ],
)
def test_accuracy_and_scores_of_the_discriminator(data, loss, real, fake, accuracy, scores):
    _, logged = first_batch(make_fixed_gan(loss=loss(), real=real, fake=fake), data)
    assert logged["train/d_accuracy"] == accuracy
    means = logged["train/d_real"], logged["train/d_fake"]
    assert means == pytest.approx(scores, rel=1e-6)


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


def test_each_stage_updates_its_own_networks(data):
    """One epoch of three batches a stage: generator, discriminator, both."""
    task = make_gan(generator_epochs=1, discriminator_epochs=1, ema_decay=0.9)
    states, judged = [], []
    task.on_train_epoch_start = lambda: states.append(state(task))
    task.discriminator.register_forward_hook(lambda *_: judged.append(task.global_step))
    history = train(task, data, max_epochs=3)
    assert len(history.batches) == history.trainer.global_step == 9
    start, alone, judge, both = *states, state(task)
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
    # Calls of the discriminator, after so many steps: none, real and fake, then real, fake and,
    # after its step, for the generator.
    assert judged[:6] == [3, 3, 4, 4, 5, 5]
    assert len(judged) == 6 + 9
