"""Plant the faults of the catalog one at a time and report those that no test detects.

    uv run python -m tests.faults                every fault
    uv run python -m tests.faults --only psnr    those with this text in name or target
    uv run python -m tests.faults --list         the faults and their targets

Importing torch and Lightning takes seconds, so this is done once and each fault gets a fork.
"""

import argparse
import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from faults.catalog import FAULTS  # noqa: E402
from faults.planting import Fault, install  # noqa: E402

# Slow imports, but none of the package itself.
_HEAVY = (
    *("pytest", "hypothesis.strategies", "torch.utils.tensorboard", "torchvision", "timm"),
    *("kornia.augmentation", "pytorch_lightning.cli", "torchmetrics.image", "skimage.data"),
    *("skimage.color", "skimage.metrics", "wandb", "rich.progress", "optuna"),
)
_FAILED = 1  # pytest's exit code when a test has failed


def run_tests(fault: Fault | None, tests: Sequence[str], log: Path) -> None:
    """Run tests in this process, which has a fault from here on, and exit with pytest's code."""
    import pytest

    if fault is not None:
        os.environ |= {
            "LC_FAULT": fault.name,
            "LC_FAULTS": str(TESTS),
            "PYTHONPATH": str(TESTS / "faults" / "site"),
        }
        install(fault.name)
    os.chdir(TESTS.parent)
    file = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    first_only = [] if fault is None else ["-x"]
    options = ["-n", "0", "--tb=short", "-p", "no:cacheprovider", "-m", "not gpu", *first_only]
    sys.exit(pytest.main([*options, *(str(TESTS / test) for test in tests)]))


def run_all(
    work: Sequence[tuple[Fault | None, Sequence[str]]], jobs: int, logs: Path
) -> Iterator[tuple[Fault | None, int, float, Path]]:
    """Run each piece of work in a fork; yield fault, exit code, seconds and log as they end."""
    start = multiprocessing.get_context("fork").Process
    running: dict[int, tuple] = {}
    waiting = list(enumerate(work))
    while waiting or running:
        while waiting and len(running) < jobs:
            index, (fault, tests) = waiting.pop(0)
            log = logs / f"{index}.log"
            process = start(target=run_tests, args=(fault, tests, log))
            process.start()
            running[process.sentinel] = (process, fault, log, time.monotonic())
        for sentinel in wait(list(running)):
            process, fault, log, started = running.pop(sentinel)  # type: ignore[index]
            process.join()
            yield fault, process.exitcode, time.monotonic() - started, log


def main() -> int:
    """Plant the selected faults; returns 1 if one survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="part of the fault's name or target")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if arguments.only in f"{fault.name} {fault.target}"]
    if not faults:
        parser.error(f"--only {arguments.only}: no fault has this in its name or target")
    if arguments.list:
        for fault in faults:
            print(f"{fault.name:<44} {fault.target}")
        return 0
    for name in _HEAVY:
        importlib.import_module(name)
    started = time.monotonic()
    survived = []
    with TemporaryDirectory(prefix="faults-") as folder:
        every = tuple(dict.fromkeys(test for fault in faults for test in fault.tests))
        jobs = arguments.jobs
        parts = [(None, every[first::jobs]) for first in range(min(jobs, len(every)))]
        for _, code, _, log in run_all(parts, jobs, Path(folder)):
            if code:
                print(log.read_text(), "the tests fail without a fault", sep="\n")
                return 1
        work = [(fault, fault.tests) for fault in faults]
        for fault, code, seconds, log in run_all(work, jobs, Path(folder)):
            caught = code == _FAILED
            print(f"{'caught' if caught else 'SURVIVED'}  {fault.name} ({seconds:.0f} s)")
            if not caught:
                survived.append(fault.name)
                print(log.read_text()[-2000:])
    minutes = (time.monotonic() - started) / 60
    print(f"{len(faults) - len(survived)} caught, {len(survived)} survived, {minutes:.0f} min")
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main())
