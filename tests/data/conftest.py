"""Fixtures of the data tests: `images`, the module that writes small odd images."""

import importlib.util
import multiprocessing
import signal
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def images() -> ModuleType:
    """tests/data/images.py, loaded by path since tests are no package."""
    spec = importlib.util.spec_from_file_location("images", Path(__file__).with_name("images.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_process_is_left():
    """End the processes of loaders that were not read to their end: torch waits 5 s for each."""
    yield
    left = multiprocessing.active_children()
    if left and hasattr(signal, "SIGCHLD"):
        torchs = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in left:
            child.kill()
            child.join()
        signal.signal(signal.SIGCHLD, torchs)
