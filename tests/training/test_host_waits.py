"""Between two logged batches, the host reads no value from the device."""

from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_colorize.tasks.base import ColorizationTask
from tests.tasks.conftest import TINY_GAN
from tests.tasks.test_generative import TINY as TINY_FLOW

MODELS = {"cnn": {"--model.ema_decay": 0.9}, "gan": TINY_GAN, "flow": TINY_FLOW}

READS = "aten._local_scalar_dense.default"


class Counted(TorchDispatchMode):
    """Counts operators by batch."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.batches:
            self.batches[-1][str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def counted(monkeypatch):
    """Count the operators of each training batch, with its loading and callbacks."""
    mode = Counted()

    def begin(task, batch, batch_idx):
        mode.batches.append(Counter())

    monkeypatch.setattr(ColorizationTask, "on_train_batch_start", begin)
    return mode


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cache", ["always", "device"])
def test_unlogged_batches_read_nothing(command, counted, model, cache):
    words = [word for pair in MODELS[model].items() for word in pair]
    words += ["--model.fused", "true", "--data.cache", cache, "--data.batch_size", 1]
    with counted:
        command.fit("counted", *words, "--trainer.log_every_n_steps", 100)
    unlogged = counted.batches[1:11]  # the first one starts, the last one validates
    assert [batch[READS] for batch in unlogged] == [0] * 10
