"""The catalog of `python -m tests.faults`, without running the tests of each fault."""

import importlib
import importlib.util
from pathlib import Path

TESTS = Path(__file__).parent


def test_every_fault_applies_to_the_package(monkeypatch):
    monkeypatch.syspath_prepend(TESTS)
    for fault in importlib.import_module("faults.catalog").FAULTS:
        fault.plant(Path(importlib.util.find_spec(fault.module).origin).read_bytes())
        for test in fault.tests:
            assert (TESTS / test.partition("::")[0]).exists(), fault.name
