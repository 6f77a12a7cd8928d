"""`compile: true`: the compiled networks, and results equal to eager ones."""

from functools import partial

import pytest
import torch

from lightning_colorize.common.compiling import compiler_fault
from lightning_colorize.tasks import GenerativeTask
from tests.conftest import Commands
from tests.tasks.conftest import GanCommands, make_cnn, make_gan, make_trainer
from tests.tasks.test_generative import GenerativeCommands
from tests.tasks.test_generative import make_task as make_generative


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
    names = set(usual.state_dict())
    trainers = [make_trainer(max_steps=3) for _ in range(2)]
    for one, trainer in zip((task, usual), trainers, strict=True):
        trainer.fit(one, data)
    # The first call checks whether a compiler is available.
    assert compiled[0] is None
    assert [id(module) for module in compiled[1:]] == [id(network) for network in networks(task)]
    assert all(network.compiled_for_test.calls >= 3 for network in networks(task))
    assert set(task.state_dict()) == names
    for name, value in usual.state_dict().items():
        assert torch.equal(task.state_dict()[name], value), name


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
