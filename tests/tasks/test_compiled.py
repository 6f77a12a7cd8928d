"""Compiled networks, and what else follows from the device: memory format, fused optimizers."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from lightning_colorize.common.compiling import compiler_fault
from lightning_colorize.data import convert
from lightning_colorize.tasks import GenerativeTask
from tests.conftest import Commands
from tests.tasks.conftest import GanCommands, changed, make_cnn, make_gan, make_trainer
from tests.tasks.test_generative import GenerativeCommands
from tests.tasks.test_generative import make_task as make_generative
from tests.training.callbacks.conftest import fake_trainer


@pytest.fixture
def compiled(monkeypatch):
    """Replace torch.compile by a wrapper that counts calls; yields the compiled modules."""
    modules = []

    def compile_(function, **options):
        owner = getattr(function, "__self__", None)
        modules.append(owner)

        def wrapper(*args, **kwargs):
            wrapper.calls += 1
            return function(*args, **kwargs)

        wrapper.calls = 0
        if owner is not None:
            owner.compiled_for_test = wrapper
        return wrapper

    monkeypatch.setattr(torch, "compile", compile_)
    compiler_fault.cache_clear()
    yield modules
    compiler_fault.cache_clear()


def networks(task):
    if isinstance(task, GenerativeTask):
        return [task.net.encoder, task.net.decoder, task.net.head, task.net.denoiser]
    return [task.net, *([task.discriminator] if hasattr(task, "discriminator") else [])]


@pytest.mark.parametrize("make", [make_cnn, partial(make_gan, ema_decay=0.9), make_generative])
def test_trained_networks_are_compiled(make, compiled, data):
    task, usual = make(compile=True), make()
    trainers = [make_trainer(max_steps=3) for _ in range(2)]
    for one, trainer in zip((task, usual), trainers, strict=True):
        trainer.fit(one, data)
    # The first call checks whether a compiler is available.
    assert compiled[0] is None
    assert [id(module) for module in compiled[1:]] == [id(network) for network in networks(task)]
    assert all(network.compiled_for_test.calls >= 3 for network in networks(task))
    assert task.state_dict().keys() == usual.state_dict().keys()
    assert not changed(usual.state_dict(), task.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("commands", [Commands, GanCommands, GenerativeCommands])
def test_compiled_training_equals_eager_and_resumes_exactly(
    commands, monkeypatch, photo_folder, tmp_path
):
    """With the graphs of Dynamo and AOTAutograd; Inductor is not tested."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    command = commands(photo_folder, tmp_path / "runs")
    compiled = ["--model.compile", "true", "--data.compile", "true"]
    eager = command.fit("eager")
    whole = command.fit("whole", *compiled)
    half = command.fit("half", *compiled, "--trainer.max_epochs", 1)
    assert command("resume", half, "--trainer.max_epochs", 2) == 0
    states = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (eager, whole, half)
    ]
    for name, value in states[1].items():
        assert torch.equal(states[2][name], value), name
        torch.testing.assert_close(value, states[0][name], atol=1e-4, rtol=1e-3, msg=name)
    torch.compiler.reset()


class GraphCount(Callback):
    """Records the graphs that exist after each batch."""

    def __init__(self, like_cuda):
        self.like_cuda = like_cuda
        self.graphs = []

    def on_fit_start(self, trainer, pl_module):
        pl_module._targets_channels_last = self.like_cuda

    def on_train_batch_end(self, *args):
        self.graphs.append(counters["stats"]["unique_graphs"])


@pytest.mark.parametrize(
    ("make", "options", "graphs"),
    [
        (make_cnn, {}, 2),  # the data path, the network
        (make_cnn, {"channels_last": True}, 2),
        (make_gan, {}, 4),  # the discriminator in its own step and in the generator's
        (make_gan, {"channels_last": True}, 4),
    ],
)
def test_graphs_are_whole_and_complete_after_the_first_batch(
    make, options, graphs, data, monkeypatch
):
    compiler_fault(torch.device("cpu"))  # not counted
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=CompileCounter()))
    convert._compiled.cache_clear()
    torch.compiler.reset()
    counters.clear()
    data.compile_setting = True
    count = GraphCount(like_cuda=bool(options))
    trainer = make_trainer(max_epochs=2, limit_val_batches=0, callbacks=[count])
    trainer.fit(make(compile=True, **options), data)
    assert count.graphs == [graphs] * 6
    assert not counters["graph_break"]
    convert._compiled.cache_clear()
    torch.compiler.reset()


class OnGraphs(Callback):
    """Makes a task act as if its networks were CUDA graphs."""

    def __init__(self):
        self.marks = 0
        self.kept = []

    def on_train_start(self, trainer, pl_module):
        pl_module.uses_graphs = True

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.kept += [self.marks, *(p.grad for p in pl_module.parameters() if p.grad is not None)]


@pytest.mark.parametrize("make", [make_cnn, partial(make_gan, ema_decay=0.9), make_generative])
def test_graphs_keep_no_gradients_and_begin_a_step_per_batch(make, data, monkeypatch):
    graphs = OnGraphs()

    def mark():
        graphs.marks += 1

    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", mark)
    task, usual = make(), make()
    make_trainer(max_epochs=2, callbacks=[graphs], limit_val_batches=1).fit(task, data)
    make_trainer(max_epochs=2, limit_val_batches=1).fit(usual, data)
    # A validation after each epoch.
    assert graphs.kept == [1, 2, 3, 5, 6, 7]
    assert not changed(usual.state_dict(), task.state_dict())


def on_cuda(task, **trainer):
    """Prepare a task for a fit on a CUDA device."""
    usual = {"precision": "bf16-mixed", "gradient_clip_val": None, "datamodule": None}
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    task.trainer = fake_trainer(**{"strategy": strategy} | usual | trainer)
    task.setup("fit")
    return task


@pytest.mark.parametrize(
    ("run", "graphs"),
    [
        ({}, True),
        ({"world_size": 2}, False),
        ({"accumulate_grad_batches": 2}, False),
    ],
)
@pytest.mark.parametrize("make", [make_cnn, make_gan])
def test_what_cuda_graphs_need(make, run, graphs, monkeypatch, capsys):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda function, mode=None: modes.append(mode))
    monkeypatch.setattr("lightning_colorize.common.compiling.compiler_fault", lambda device: None)
    options = run if make is make_gan and "accumulate_grad_batches" in run else {}
    task = on_cuda(make(compile="reduce-overhead", **options), **run)
    assert (task.compiles, task.uses_graphs) == (True, graphs)
    assert set(modes) == {"reduce-overhead" if graphs else None}
    needs = "CUDA, one process and steps of one batch; compiled without graphs"
    expected = "" if graphs else f"--model.compile reduce-overhead needs {needs}\n"
    assert capsys.readouterr().err == expected


def memory_formats(task):
    weights = [p for p in task.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    return {p.is_contiguous(memory_format=torch.channels_last) for p in weights}


@pytest.mark.parametrize("make", [make_cnn, partial(make_gan, ema_decay=0.9), make_generative])
@pytest.mark.parametrize(
    ("setting", "precision", "expected"),
    [
        (None, "bf16-mixed", True),
        (None, "32-true", False),
        (False, "bf16-mixed", False),
        (True, "32-true", True),
    ],
)
def test_memory_format_on_cuda(make, setting, precision, expected, data):
    task = on_cuda(make(channels_last=setting), precision=precision)
    assert memory_formats(task) == {expected}
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    ab = task.with_target(batch).ab
    assert ab.is_contiguous(memory_format=torch.channels_last) is expected
    assert torch.equal(ab, batch.ab)
    assert task.hparams.channels_last is setting


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, None),
        ({"precision": "16-mixed"}, False),
    ],
)
def test_optimizers_are_fused_on_cuda_unless_gradients_are_scaled(trainer, expected):
    assert on_cuda(make_cnn(), **trainer).fused is expected
    for explicit in (True, False):
        assert on_cuda(make_cnn(fused=explicit), **trainer).fused is explicit


def test_on_a_cpu_the_defaults_change_nothing(data):
    task, usual = make_gan(), make_gan(fused=False, channels_last=False, compile=False)
    for each in (task, usual):
        make_trainer(max_epochs=1).fit(each, data)
    assert (task.compiles, data.compiles) == (False, False)
    assert memory_formats(task) == {False}
    assert not changed(usual.state_dict(), task.state_dict())
