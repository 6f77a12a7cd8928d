"""Every fault of the catalog can be planted, and its tests exist."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from faults.catalog import FAULTS  # noqa: E402

sys.path.remove(str(TESTS))


def test_faults_apply_to_the_package_and_name_existing_tests():
    for fault in FAULTS:
        module = TESTS.parent.joinpath(*fault.module.split(".")).with_suffix(".py")
        fault.plant(module.read_text(encoding="utf-8"))
        for test in fault.tests:
            path, _, name = test.partition("::")
            assert f"def {name}" in (TESTS / path).read_text(encoding="utf-8"), test


def test_names_are_unique_and_every_package_has_a_fault():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    package = TESTS.parent / "lightning_colorize"
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert {fault.target.partition(".")[0] for fault in FAULTS} >= packages
