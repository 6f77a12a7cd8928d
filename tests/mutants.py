"""Plants the faults of faults/*.toml in a copy of the package, one at a time.

    python tests/mutants.py               every fault
    python tests/mutants.py --only EXIF   those with this word in their name or file
    python tests/mutants.py --list        what is planted where

Each must make a test fail; one that survives is a hole in the tests. First the tests run without a
fault, and must pass. Importing torch and Lightning takes seconds, so it is done once and each fault
gets a forked process (a fresh one where the system cannot fork).
"""

import argparse
import importlib
import multiprocessing
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).resolve().parents[1]
FAULTS = Path(__file__).with_name("faults")

_COPIED = ("lightning_colorize", "experiments", "sweeps", "tests", "pyproject.toml")

# What takes time to import, and nothing of the package itself.
_HEAVY = (
    *("pytest", "hypothesis.strategies", "torch._dynamo", "torch.utils.tensorboard", "torchvision"),
    *("kornia.augmentation", "timm", "pytorch_lightning.cli", "torchmetrics.image"),
    *("skimage.color", "skimage.data", "skimage.metrics", "wandb", "rich.progress"),
)

_PASSED, _FAILED = 0, 1


@dataclass(frozen=True)
class Fault:
    """A change of one file that some test has to notice.

    Attributes:
        name: What goes wrong, in a few words.
        file: The file, relative to the repository.
        old: Text that stands exactly once in it.
        new: What stands there instead.
        tests: What is run: test files relative to the repository, or single tests of slow ones.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def planted(self, folder: Path) -> str:
        """Return the text of the file below a folder, with the fault."""
        text = (folder / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {text.count(self.old)} x {self.old!r} in {self.file}")
        return text.replace(self.old, self.new)


@dataclass
class Outcome:
    """What the tests said.

    Attributes:
        fault: What was planted; None for nothing.
        code: pytest's exit code.
        seconds: What it took.
        failed: The tests that failed.
        log: What pytest printed.
    """

    fault: Fault | None
    code: int
    seconds: float
    failed: list[str]
    log: str


def read_faults() -> list[Fault]:
    """Return the faults that are listed, file by file."""
    return [
        Fault(
            name,
            f"lightning_colorize/{entry['file']}",
            entry["old"].strip("\n"),
            entry["new"].strip("\n"),
            tuple(f"tests/{test}" for test in entry["tests"]),
        )
        for file in sorted(FAULTS.glob("*.toml"))
        for name, entry in tomllib.loads(file.read_text(encoding="utf-8")).items()
    ]


def copy_repository(folder: Path) -> None:
    """Copy what the tests need into a new folder."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in _COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)


def run_tests(source: Path, folder: Path, fault: Fault | None, tests: Sequence[str]) -> None:
    """Run tests on a copy of the sources and exit with pytest's code.

    Args:
        source: What is copied.
        folder: Is made for the copy; `folder.log` is what pytest prints.
        fault: What is planted; None for nothing.
        tests: As pytest takes them, relative to the repository.
    """
    import pytest

    shutil.copytree(source, folder)
    if fault is not None:
        (folder / fault.file).write_text(fault.planted(folder), encoding="utf-8")
    os.chdir(folder)
    # Before the installed package; processes that a test starts must find the copy too.
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    options = ["--tb=short", "-rfE", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}"]
    first_only = [] if fault is None else ["-x"]
    sys.exit(pytest.main([*options, *first_only, *tests]))


def run_all(
    source: Path, work: Sequence[tuple[Fault | None, Sequence[str]]], jobs: int = 1
) -> Iterator[Outcome]:
    """Run tests under faults, each in a process of its own; yield outcomes as they come.

    Args:
        source: What the faults are planted in; copies are made beside it.
        work: Faults, or None for none, and the tests of each.
        jobs: How many at the same time.
    """
    start = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn").Process
    running: dict[int, tuple] = {}
    waiting = list(enumerate(work))
    while waiting or running:
        while waiting and len(running) < jobs:
            number, (fault, tests) = waiting.pop(0)
            folder = source.with_name(str(number))
            process = start(target=run_tests, args=(source, folder, fault, tests))
            process.start()
            running[process.sentinel] = (process, fault, folder, time.monotonic())
        for sentinel in wait(list(running)):
            process, fault, folder, since = running.pop(sentinel)
            process.join()
            log = folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
            failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", log, re.MULTILINE)
            yield Outcome(fault, process.exitcode, time.monotonic() - since, failed, log)
            shutil.rmtree(folder, ignore_errors=True)


def preload() -> None:
    """Import what is heavy, so that forked processes have it already."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # A copy's file may be as old and as long as another's: its bytecode would be taken for it.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in _HEAVY:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


def plant(source: Path, faults: Sequence[Fault], jobs: int) -> int:
    """Plant faults and print what became of them; returns the exit code."""
    everything = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    print("Running the tests without a fault ...", flush=True)
    (sound,) = run_all(source, [(None, everything)])
    if sound.code != _PASSED:
        print(sound.log[-4000:])
        print("The tests fail without any fault: nothing can be said.")
        return 2
    survived = 0
    for outcome in run_all(source, [(fault, fault.tests) for fault in faults], jobs):
        caught = outcome.code == _FAILED
        survived += not caught
        word = "caught" if caught else "SURVIVED" if outcome.code == _PASSED else "BROKEN"
        by = outcome.failed[0].removeprefix("tests/") if outcome.failed else ""
        print(f"{word:<8} {outcome.seconds:5.1f} s  {outcome.fault.name:<52} {by}", flush=True)
        if word == "BROKEN":
            print(outcome.log[-2000:])
    print(f"{len(faults) - survived} caught, {survived} survived")
    return min(survived, 1)


def main() -> int:
    """Plant faults; returns 0 if all were caught, 1 if one was not, 2 if the tests fail without."""
    parser = argparse.ArgumentParser(description="Plant listed faults and see that tests fail.")
    parser.add_argument(
        "--only", metavar="WORD", default="", help="faults with this in name or file"
    )
    parser.add_argument("--list", action="store_true", help="print the faults, plant none")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="faults at the same time")
    arguments = parser.parse_args()
    faults = [f for f in read_faults() if arguments.only.lower() in f"{f.name} {f.file}".lower()]
    if not faults:
        parser.error(f"--only {arguments.only}: no fault has this in name or file")
    if arguments.list:
        for fault in faults:
            print(f"{fault.name:<52} {fault.file}")
        return 0

    preload()
    with TemporaryDirectory(prefix="mutants-") as scratch:
        # The repository as it is now, whatever is edited in it from here on.
        source = Path(scratch, "source").resolve()
        copy_repository(source)
        return plant(source, faults, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
