"""A GAN's stages: the generator alone, the discriminator alone, then both."""

import pytest

from tests.tasks.conftest import changed, make_gan, train


@pytest.fixture
def staged(data):
    """A trained GAN with one epoch of three batches a stage; its history and judged batches."""
    task = make_gan(generator_epochs=1, discriminator_epochs=1, ema_decay=0.9)
    judged = []
    task.discriminator.register_forward_hook(
        lambda *_: judged.append(len(task.trainer.callbacks[0].batches) - 1)
    )
    history = train(task, data, max_epochs=3)
    assert len(history.batches) == history.trainer.global_step == 9
    return task, history, judged


def test_each_stage_updates_its_own_networks(staged):
    task, history, judged = staged
    start, alone, judge, both = (history.states[3 * epoch] for epoch in range(4))
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
    # Calls of the discriminator: none, real and fake, and for the generator too.
    assert [judged.count(batch) for batch in range(9)] == [0] * 3 + [2] * 3 + [3] * 3
