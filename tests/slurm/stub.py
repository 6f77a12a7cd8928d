"""Stubs of Slurm's commands, for tests without a cluster."""

import os
import stat
import sys

# The part of Slurm that the launcher uses; a job is a file with its state, and starts nothing.
STUB = """
import os, sys
from pathlib import Path

here, (name, *words) = Path(__file__).parent, [Path(sys.argv[0]).name, *sys.argv[1:]]
with (here / "calls").open("a") as calls:
    print(name, *words, file=calls)
if (here / f"broken {name}").exists():
    sys.exit(f"{name}: error: nonsense\\n{name}: error: no")
if name == "sbatch":
    number = len(list(here.glob("*.script"))) + 12
    if (here / f"refuse {number}").exists():
        sys.exit("sbatch: error: Batch job submission failed: Not today")
    (here / f"{number}.script").write_text(Path(words[0]).read_text())
    (here / f"{number}.job").write_text("PENDING")
    (here / "environment").write_text(str(dict(os.environ)))
    print("Submitted batch job", number)
if name == "squeue":
    for file in here.glob("*.job"):
        state = file.read_text()
        script = (here / f"{file.stem}.script").read_text()
        last = script.partition("--array=0-")[2].partition("%")[0]
        names = [f"{file.stem}_{n}" for n in range(int(last) + 1)] if last else [file.stem]
        for name in names:
            print(name, state, "Priority", "n1" if state == "RUNNING" else "", sep="|")
    print("777|RUNNING|None|n2")
if name == "scancel":
    for file in [here / f"{number}.job" for number in words]:
        file.unlink(missing_ok=True)
"""


class Slurm:
    """Stubs of Slurm's commands; their folder also has a file per job."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        folder.mkdir()
        (folder / "calls").touch()
        for name in ("sbatch", "squeue", "scancel", "scontrol"):
            program = folder / name
            program.write_text(f"#!{sys.executable} -SE\n{STUB}")
            program.chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def enable(self, flag):
        """Let the stubs behave differently: `broken COMMAND`, `refuse NUMBER`."""
        (self.folder / flag).touch()

    def end(self, *numbers):
        """End some jobs, by default all."""
        for job in [self.folder / f"{n}.job" for n in numbers] or self.folder.glob("*.job"):
            job.unlink(missing_ok=True)

    def calls(self, name):
        """Return the words with which a command was called."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.removeprefix(name).strip() for line in lines if line.split()[0] == name]
