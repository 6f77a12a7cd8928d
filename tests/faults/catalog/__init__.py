"""The faults: possible mistakes, and the tests that must detect them."""

from faults.catalog import data, models, results, runs
from faults.planting import Fault

_GROUPS = (
    *(models.COLOR, models.METRICS, models.LOSSES, models.NETWORKS, models.TASKS),
    models.CONDITIONS,
    *(data.DECODING, data.SOURCES, data.LOADING),
    *(runs.RUNS, results.COMMANDS, results.SWEEPS_AND_REPORTS),
)

FAULTS = [
    Fault(name, target, change, tuple(tests.split()))
    for group in _GROUPS
    for tests, faults in group.items()
    for name, (target, change) in faults.items()
]
