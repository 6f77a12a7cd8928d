"""Measure a table of the documentation again, and compare its figures.

    python benchmarks/reproduce.py                                list the tables
    python benchmarks/reproduce.py protocols --data general=photos/

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
from typing import Annotated, Any, Self

from comparison import Row, Rule, changed_environment, compare_figures, compare_images
from pydantic import BaseModel, Field, RootModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_colorize.common.arguments import Parser, expanded_path
from lightning_colorize.common.described import Sha256, read_described
from lightning_colorize.common.digest import sha256_of, sha256_of_files
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import files_below, require_writable, write_json
from lightning_colorize.common.processes import exit_on_sigterm
from lightning_colorize.common.progress import progress
from lightning_colorize.common.provenance import git_commit
from lightning_colorize.common.text import printable
from lightning_colorize.runs.folder import lock

ROOT = Path(__file__).parents[1]

_BEGUN = "begun.json"
_SAME = {True: "yes", False: "NO", None: "-"}


class Reproduction(BaseModel, extra="forbid", frozen=True):
    """How a table was measured.

    Attributes:
        name: The name of its file and of its results.
        data: Names of data sets, which the commands find as `data/NAME`.
        minutes: Duration of the commands on two cores.
        machine: Whether the compared figures depend on the speed of the machine.
        commands: Programs with their arguments, and variables before them. They run in a folder
            with the repository's benchmarks/, experiments/, sweeps/ and docs/photographs/, and
            write benchmarks/results/NAME.json.
        figures: Rules by pattern of the figures' names; the first that matches counts. A figure
            without a rule must be equal.
        images: The largest mean difference, in 8-bit steps, of images that the commands draw.
    """

    name: str = Field(exclude=True)
    data: list[str] = []
    minutes: Annotated[int, Field(ge=1)]
    machine: bool
    commands: Annotated[list[str], Field(min_length=1)]
    figures: dict[str, Rule] = {}
    images: dict[str, Annotated[float, Field(ge=0)]] = {}

    @classmethod
    def read(cls, name: str) -> Self:
        """Read how a table was measured.

        Raises:
            UsageError: If there is no such file, or it is wrong.
        """
        if name not in (known := names()):
            raise UsageError(f"there is no table {name}; tables are {', '.join(known)}")
        return read_described(ROOT / f"benchmarks/reproduce/{name}.yaml", cls, name=name)

    @property
    def results(self) -> Path:
        """The file of the results, relative to the repository; it need not exist."""
        return Path("benchmarks/results", f"{self.name}.json")

    @property
    def duration(self) -> str:
        """The minutes as text."""
        return f"{self.minutes} min" if self.minutes < 120 else f"{self.minutes / 60:.0f} h"


class DataSet(BaseModel, extra="forbid", frozen=True):
    """A file or a folder of images: its `contents_sha256`, and what it contains."""

    sha256: Sha256
    about: str


class _DataSets(RootModel[dict[str, DataSet]]):
    """The data sets by name."""


def main(argv: list[str] | None = None) -> int:
    """List the tables, or measure one.

    Returns:
        0 if all figures are the same, 1 if not or if a command failed, 2 for wrong use,
        130 if interrupted.
    """
    try:
        return _run(argv)
    except (UsageError, WorkError) as error:
        print(printable(f"reproduce: {error}"), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130


def _run(argv: list[str] | None) -> int:
    parser = Parser(prog="reproduce", description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="?", help="the table (default: list all of them)")
    parser.add_argument(
        "--data",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="a data set that the table needs; may be repeated",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=expanded_path,
        default=Path("reproduced"),
        help="the commands run in DIR/NAME; an interrupted call continues there "
        "(default: reproduced)",
    )
    args = parser.parse_args(argv)
    data = _named_paths(args.data)
    if args.name is None:
        if data:
            raise UsageError("--data needs the NAME of a table")
        _print_list()
        return 0
    plan = Reproduction.read(args.name)
    if not (ROOT / plan.results).is_file():
        raise UsageError(
            f"{plan.name} has not been measured yet, there is no {plan.results}; in the clone: "
            f"{plan.commands[0]}"
        )
    folder = args.out / plan.name
    done = begin(plan, folder)
    check_data(plan, read_data_sets(), data)
    print(f"{plan.name}: about {plan.duration}, in {folder}", flush=True)
    if done == len(plan.commands):
        print("It was measured there before: compared again. Another --out measures again.")
    exit_on_sigterm()
    run_commands(plan, folder, data, done)
    reports = [json.loads((root / plan.results).read_text()) for root in (ROOT, folder)]
    rows = compare_figures(*reports, plan.figures) + compare_images(ROOT, folder, plan.images)
    _print_rows(rows)
    for line in changed_environment(*reports):
        print(f"environment: {printable(line)}")
    compared = [row for row in rows if row.same is not None]
    failed = sum(not row.same for row in compared)
    verdict = f"NOT the same: {failed:,} of" if failed else "same:"
    counts = f"{len(compared):,} figures; {len(rows) - len(compared):,} are only shown"
    print(f"{plan.name}: {verdict} {counts}")
    return 1 if failed else 0


def _named_paths(words: list[str]) -> dict[str, Path]:
    """Return the paths of `NAME=PATH` by name."""
    paths: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path:
            raise UsageError(f"--data {word}: give NAME=PATH")
        if name in paths:
            raise UsageError(f"--data {name} is given twice")
        paths[name] = expanded_path(path)
    return paths


def names() -> list[str]:
    """Return the names of all tables that can be reproduced."""
    return sorted(file.stem for file in (ROOT / "benchmarks/reproduce").glob("*.yaml"))


def read_data_sets() -> dict[str, DataSet]:
    """Read the data sets of all tables."""
    return read_described(ROOT / "benchmarks/data.yaml", _DataSets).root


def _print_list() -> None:
    row = "{:<16}  {:>12}  {:<12}  {}".format
    print(row("table", "time", "of a machine", "data"))
    for plan in map(Reproduction.read, names()):
        time = plan.duration if (ROOT / plan.results).is_file() else "not measured"
        machine = "yes" if plan.machine else "no"
        print(row(plan.name, time, machine, ", ".join(plan.data) or "-"))
    print("\nFigures of a machine depend on its speed. Data:")
    for name, data in read_data_sets().items():
        print(f"  {name}: {data.about}")


def _print_rows(rows: list[Row]) -> None:
    """Print the figures, those that are not the same at the end."""
    from lightning_colorize.evaluation import print_plain  # imports torch

    table = Table("figure", pad_edge=False)
    for title in ("expected", "measured", "tolerance"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("same")
    for row in sorted(rows, key=lambda row: row.same is False):
        table.add_row(*(Text(printable(text)) for text in row[:-1]), _SAME[row.same])
    print_plain(Console(), table)


def contents_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files in a folder's sub-folders.

    For a folder it is the digest of lines as `sha256sum` prints them, sorted by name. Hidden files
    and folders do not count.

    Raises:
        OSError: If a file cannot be read, such as a link whose target is gone.
    """
    if not path.is_dir():
        return sha256_of(path)
    # Not by a source: importing those takes seconds, and memory while the commands run.
    inside = [name for name in files_below(path) if "/" in name]
    return sha256_of_files(path, progress(inside, len(inside), "hash"))


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


def run_commands(plan: Reproduction, folder: Path, data: Mapping[str, Path], done: int) -> None:
    """Run the commands that follow the `done` first ones, in a folder.

    Raises:
        UsageError: If another process uses the folder, or it cannot be written.
        WorkError: If a command fails or the results are missing.
    """
    require_writable(folder / _BEGUN, "--out")
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        _prepare(folder, data)
        write_json(folder / _BEGUN, _identity(plan) | {"done": done})
        for number, command in enumerate(plan.commands[done:], start=done + 1):
            print(f"{number} of {len(plan.commands)}: {command}", flush=True)
            if code := _call(command, folder):
                raise WorkError(f"exit code {code} of: {command}; the same call continues with it")
            write_json(folder / _BEGUN, _identity(plan) | {"done": number})
    if not (folder / plan.results).is_file():
        raise WorkError(f"the commands have not written {folder / plan.results}")


def _identity(plan: Reproduction) -> dict[str, Any]:
    return {"git_commit": git_commit(), "commands": plan.commands}


def _prepare(folder: Path, data: Mapping[str, Path]) -> None:
    """Copy the scripts, which write into their own folder, and link what they read."""
    ignore = shutil.ignore_patterns("results", "__pycache__")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=ignore, dirs_exist_ok=True)
    links = {name: ROOT / name for name in ("experiments", "sweeps", "docs/photographs")}
    links |= {f"data/{name}": path for name, path in data.items()}
    for name, target in links.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.resolve())
    for name in ("benchmarks/results", "docs/images"):
        (folder / name).mkdir(exist_ok=True)


def _call(command: str, folder: Path) -> int:
    """Run a command in a folder, with its output on ours; return its exit code."""
    from lightning_colorize.sweeps.trial import start_process

    words = shlex.split(command)
    # `python` and `lightning-colorize` are those of this process.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path}
    while match := re.fullmatch(r"([A-Z_]+)=(.*)", words[0]):
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


if __name__ == "__main__":
    sys.exit(main())
