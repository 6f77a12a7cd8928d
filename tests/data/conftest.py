"""Fixtures of the data tests: `pictures`, the module that writes small odd pictures."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def pictures() -> ModuleType:
    """tests/data/pictures.py, loaded by path since tests are no package."""
    spec = importlib.util.spec_from_file_location(
        "pictures", Path(__file__).with_name("pictures.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
