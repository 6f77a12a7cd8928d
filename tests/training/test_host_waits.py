"""Between two logged batches, the host reads no value from the device, and launches little."""

from collections import Counter

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_colorize.common.bundled import bundled
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


# Of the networks of 224 and 256 px: their number of operators does not depend on width and batch.
LIMITS = {
    "resnet34_upsample": (260, ["--data.size", 32, "--model.encoder.pretrained", "false"]),
    "cgan_pix2pix": (
        380,
        ["--data.size", 256, "--model.encoder.width", 4, "--model.discriminator.width", 4],
    ),
}

# They compute nothing: views, allocations, marks of the profiler.
FREE = {"detach", "view", "alias", "select", "slice", "expand", "unsqueeze", "unbind", "split", "t"}
FREE |= {"empty", "empty_like", "as_strided", "permute", "transpose", "lift_fresh", "promote_types"}
FREE |= {"_record_function_enter_new", "_record_function_exit"}


@pytest.mark.parametrize("experiment", LIMITS)
def test_operators_of_a_step(command, counted, experiment):
    limit, words = LIMITS[experiment]
    words += ["--data.root", command.photos, "--data.batch_size", 1, "--data.cache", "always"]
    words += ["--trainer.max_steps", 4, "--trainer.limit_val_batches", 0, "--run.test", "false"]
    words += ["--run.root", command.root, "--run.loggers.wandb", "disabled", "--trainer.devices", 1]
    words += ["--model.fused", "true", "--trainer.accelerator", "cpu"]
    config = bundled("experiments") / f"{experiment}.yaml"
    with counted:
        assert command("fit", "--config", config, *words) == 0
    names = Counter({name: n for name, n in counted.batches[2].items() if _base(name) not in FREE})
    assert names.total() <= limit, names.most_common()


def _base(operator):
    """`add` of `aten.add.Tensor`."""
    return operator.split(".")[1]
