"""Errors of torch.compile, before and during a run."""

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from lightning_colorize.common.compiling import compiler_fault


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
