"""The faults that `python tests/mutants.py` plants can still be planted."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load_mutants():
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests/mutants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


FAULTS = load_mutants().read_faults()


def test_enough_faults_are_listed():
    assert len(FAULTS) >= 25


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_applies_and_its_tests_are_there(fault):
    sound = (ROOT / fault.file).read_text(encoding="utf-8")
    planted = fault.planted(ROOT)
    assert planted != sound
    compile(planted, fault.file, "exec")
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {name.partition('[')[0]}" in text
