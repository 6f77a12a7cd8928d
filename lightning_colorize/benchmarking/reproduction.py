"""Running again what made a table of the documentation.

`benchmarks/reproduce/NAME.yaml` describes how `benchmarks/results/NAME.json` was measured;
`benchmarks/data.yaml` lists the data sets. The commands run in a folder of their own with copies of
the scripts, so that those write neither the repository's results nor its images.
"""

import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from lightning_colorize.benchmarking.comparison import Rule
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.described import Sha256, read_described
from lightning_colorize.common.digest import sha256_of, sha256_of_files
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import files_below, require_writable, write_json
from lightning_colorize.common.progress import progress
from lightning_colorize.common.provenance import git_commit
from lightning_colorize.runs.folder import lock

_BEGUN = "begun.json"
_ASSIGNMENT = re.compile(r"([A-Z_]+)=(.*)")


class Reproduction(BaseModel):
    """How a table was measured.

    Attributes:
        name: The name of its file and of its results.
        data: Names of data sets, which the commands find as `data/NAME`.
        minutes: That the commands took, on two cores.
        machine: Whether what is compared depends on the speed of the machine.
        commands: Programs with their arguments, and variables before them. They run in a folder
            with the repository's benchmarks/, experiments/, sweeps/ and docs/photographs/, and
            write benchmarks/results/NAME.json.
        figures: A rule by pattern of the figures' names; the first that matches counts. A figure
            without a rule must be equal.
        images: The largest mean difference, in 8-bit steps, of images that the commands draw.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(exclude=True)
    data: list[str] = []
    minutes: Annotated[int, Field(ge=1)]
    machine: bool
    commands: Annotated[list[str], Field(min_length=1)]
    figures: dict[str, Rule] = {}
    images: dict[str, Annotated[float, Field(ge=0)]] = {}


class DataSet(BaseModel):
    """A folder of images or a file.

    Attributes:
        sha256: As `contents_sha256` returns it.
        about: Its images and their origin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Sha256
    about: str


class _DataSets(RootModel[dict[str, DataSet]]):
    """The data sets by name."""


def find_clone() -> Path:
    """Return the root of the repository that contains this package.

    Raises:
        UsageError: If the package is installed without it.
    """
    try:
        return bundled("benchmarks/reproduce").parents[1]
    except FileNotFoundError:
        raise UsageError(
            "reproduce needs a clone of the repository, whose benchmarks/ this installation lacks; "
            "in a clone: uv run lightning-colorize reproduce"
        ) from None


def list_reproductions(root: Path) -> list[str]:
    """Return the names of all tables that can be reproduced."""
    return sorted(file.stem for file in (root / "benchmarks/reproduce").glob("*.yaml"))


def read_reproduction(root: Path, name: str) -> Reproduction:
    """Read how a table was measured.

    Raises:
        UsageError: If there is no such file, or it is wrong.
    """
    if name not in (known := list_reproductions(root)):
        raise UsageError(f"there is no table {name}; tables are {', '.join(known)}")
    return read_described(root / f"benchmarks/reproduce/{name}.yaml", Reproduction, name=name)


def read_data_sets(root: Path) -> dict[str, DataSet]:
    """Read the data sets of all tables."""
    return read_described(root / "benchmarks/data.yaml", _DataSets).root


def expected_results(root: Path, name: str) -> Path:
    """Return the file of the results in the repository; it need not exist."""
    return root / "benchmarks/results" / f"{name}.json"


def contents_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder that of the files in its sub-folders.

    The latter is that of lines as `sha256sum` prints them, sorted by name. Hidden files and
    folders do not count.

    Raises:
        OSError: If a file cannot be read, such as a link whose target is gone.
    """
    if not path.is_dir():
        return sha256_of(path)
    # Not by a source: importing those takes seconds, and memory while the commands run.
    names = [name for name in files_below(path) if "/" in name]
    return sha256_of_files(path, progress(names, len(names), "hash"))


def check_data(plan: Reproduction, known: Mapping[str, DataSet], given: Mapping[str, Path]) -> None:
    """Check that exactly the data sets of a table are given.

    Raises:
        UsageError: If one is missing, has other content, cannot be read, or is not needed.
    """
    for name in plan.data:
        if name not in given:
            raise UsageError(f"{plan.name} needs --data {name}=PATH: {known[name].about}")
    if others := given.keys() - set(plan.data):
        needed = ", ".join(plan.data) or "no data"
        raise UsageError(f"--data {min(others)}: {plan.name} needs {needed}")
    for name, path in given.items():
        try:
            found = contents_sha256(path)
        except OSError as error:
            raise UsageError(
                f"--data {name}={path}: {error.filename} cannot be read: {error.strerror}"
            ) from None
        if found != known[name].sha256:
            raise UsageError(
                f"--data {name}={path} has the SHA-256 {found}, not {known[name].sha256}: "
                f"it must be {known[name].about}"
            )


def begin(plan: Reproduction, folder: Path) -> int:
    """Return how many commands an earlier, interrupted call has completed in a folder.

    Raises:
        UsageError: If the folder contains something else.
    """
    if not (folder / _BEGUN).is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; give another --out")
        return 0
    earlier = json.loads((folder / _BEGUN).read_text())
    done = int(earlier.pop("done"))
    if earlier != _identity(plan):
        raise UsageError(
            f"{folder} was begun with other code, commit {earlier['git_commit']}; "
            "give another --out"
        )
    return done


def run_commands(
    root: Path, plan: Reproduction, folder: Path, data: Mapping[str, Path], done: int
) -> Path:
    """Run the commands that are not yet done; return the file of the results.

    Args:
        root: The repository.
        plan: The commands.
        folder: Where they run.
        data: The paths of the data sets.
        done: How many commands are complete, from `begin`.

    Raises:
        UsageError: If the folder cannot be written, or another process writes into it.
        WorkError: If a command fails or writes no results.
    """
    require_writable(folder / _BEGUN, "--out")
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        _prepare(root, folder, data)
        write_json(folder / _BEGUN, _identity(plan) | {"done": done})
        for number, command in enumerate(plan.commands[done:], start=done + 1):
            print(f"{number} of {len(plan.commands)}: {command}", flush=True)
            if code := _run(command, folder):
                raise WorkError(f"exit code {code} of: {command}; the same call continues with it")
            write_json(folder / _BEGUN, _identity(plan) | {"done": number})
    results = expected_results(folder, plan.name)
    if not results.is_file():
        raise WorkError(f"the commands have not written {results}")
    return results


def _identity(plan: Reproduction) -> dict[str, Any]:
    return {"git_commit": git_commit(), "commands": plan.commands}


def _prepare(root: Path, folder: Path, data: Mapping[str, Path]) -> None:
    """Copy the scripts, which write beside themselves, and link what they read."""
    ignore = shutil.ignore_patterns("results", "__pycache__")
    scripts = folder / "benchmarks"
    shutil.copytree(root / "benchmarks", scripts, ignore=ignore, dirs_exist_ok=True)
    links = {name: root / name for name in ("experiments", "sweeps", "docs/photographs")}
    links |= {f"data/{name}": path for name, path in data.items()}
    for name, target in links.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.resolve())
    for name in ("benchmarks/results", "docs/images"):
        (folder / name).mkdir(exist_ok=True)


def _run(command: str, folder: Path) -> int:
    """Run a command in a folder, with its output on ours; return its exit code."""
    from lightning_colorize.sweeps.trial import start_process

    words = shlex.split(command)
    # `python` and `lightning-colorize` are those of this process.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path}
    while match := _ASSIGNMENT.fullmatch(words[0]):
        environment[match[1]] = match[2]
        words.pop(0)
    process = start_process(words, environment, start=folder)
    try:
        return process.wait()
    except (KeyboardInterrupt, SystemExit):
        # All of its group: trainings that a script has started write a checkpoint too.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
