"""Whether a run is compiled, and errors of torch.compile before and during it."""

import math
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import Timer
from torch._dynamo.exc import TorchDynamoException

from lightning_colorize.common import compiling
from lightning_colorize.common.compiling import compiler_fault, compiles, planned_steps
from lightning_colorize.common.errors import UsageError
from tests.training.callbacks.conftest import fake_trainer


class InductorError(TorchDynamoException):
    """Derived as torch's own error is."""


def failing(function, **options):
    def call(*args, **kwargs):
        raise InductorError("\n  InvalidCxxCompiler: No working C++ compiler found\nand so on")

    return call


@pytest.fixture(autouse=True)
def fresh_cache():
    compiler_fault.cache_clear()
    yield
    compiler_fault.cache_clear()


@pytest.mark.parametrize("option", ["model.compile", "data.compile"])
def test_a_run_that_cannot_be_compiled_does_not_start(command, monkeypatch, capsys, option):
    monkeypatch.setattr(torch, "compile", failing)
    assert command("fit", *command.words("run", f"--{option}", "true")) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"lightning-colorize: --{option}: true",
        "accepted: false: torch.compile does not work here (InvalidCxxCompiler: No working C++ "
        "compiler found); for cpu it needs a C++ compiler",
    ]


def test_a_compiler_failure_ends_the_run_without_traceback(command, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", failing)
    monkeypatch.setattr("lightning_colorize.common.compiling.compiler_fault", lambda device: None)
    assert command("fit", *command.words("run", "--model.compile", "true")) == 1
    error = capsys.readouterr().err
    assert "torch.compile failed (InvalidCxxCompiler: No working C++ compiler found)" in error
    assert "set --model.compile false" in error
    assert "Traceback" not in error


def planned(device="cuda", images=1000, minutes=None, **more):
    """Return a Trainer with 100 batches an epoch."""
    data = SimpleNamespace(batch_size=5, counts=lambda: {"train": images, "val": 7})
    usual = {
        "strategy": SimpleNamespace(root_device=torch.device(device)),
        "callbacks": [] if minutes is None else [Timer(timedelta(minutes=minutes))],
        **{"datamodule": data, "world_size": 2, "max_steps": -1, "max_epochs": 100},
        "limit_train_batches": 1.0,
    }
    return fake_trainer(**usual | more)


@pytest.mark.parametrize(
    ("run", "steps", "expected"),
    [
        ({}, 10_000, True),
        ({"max_epochs": 99}, 9_900, False),
        ({"images": 1009}, 10_000, True),
        ({"max_epochs": -1}, math.inf, True),
        ({"max_steps": 9_999}, 9_999, False),
        ({"max_epochs": -1, "max_steps": 50_000}, 50_000, True),
        ({"max_epochs": 1000, "limit_train_batches": 9}, 9_000, False),
        ({"max_epochs": 1000, "limit_train_batches": 0.5}, 50_000, True),
        ({"images": 3, "max_epochs": 10_000}, 10_000, True),
        ({"max_epochs": -1, "minutes": 29}, math.inf, False),
        ({"max_epochs": -1, "minutes": 30}, math.inf, True),
        ({"minutes": 60}, 10_000, True),
        ({"datamodule": None}, 0, False),
        ({"device": "cpu", "max_epochs": -1}, math.inf, False),
    ],
)
def test_auto_compiles_long_runs_on_cuda(monkeypatch, run, steps, expected):
    monkeypatch.setattr(compiling, "compiler_fault", lambda device: None)
    trainer = planned(**run)
    assert planned_steps(trainer) == steps
    for option in ("model.compile", "data.compile"):
        assert compiles(option, "auto", trainer) is expected
        assert not compiles(option, False, trainer)
        assert compiles(option, True, trainer)


def test_auto_without_a_compiler_is_eager_and_says_so_once(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "compiler_fault", lambda device: "torch.compile does not work")
    compiling._report.cache_clear()
    for option in ("data.compile", "model.compile"):
        assert not compiles(option, "auto", planned())
    assert capsys.readouterr().err == "not compiled: torch.compile does not work\n"
    with pytest.raises(UsageError, match=r"reduce-overhead\naccepted: false: torch"):
        compiles("model.compile", "reduce-overhead", planned())
