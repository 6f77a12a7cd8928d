"""What made a result: the versions and the commit that are written beside it.

Imports nothing heavy.
"""

import subprocess
from functools import cache
from importlib.metadata import version

PACKAGES = ("lightning-colorize", "torch", "torchvision", "pytorch-lightning", "kornia")
"""The distributions on which a result depends."""


def versions(*more: str) -> dict[str, str]:
    """Return the installed version of each of `PACKAGES`, and of further distributions."""
    return {name: version(name) for name in (*PACKAGES, *more)}


@cache
def git_commit() -> str | None:
    """Return the commit of the working directory, or None outside a repository.

    Asked once in a process: a commit made while a run trains is not what trains.
    """
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
