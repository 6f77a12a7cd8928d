"""Provenance of a result: package versions and git commit.

Imports nothing heavy.
"""

import subprocess
from functools import cache
from importlib.metadata import version

PACKAGES = ("lightning-colorize", "torch", "torchvision", "pytorch-lightning", "kornia")
"""The distributions on which a result depends."""


def versions(*more: str) -> dict[str, str]:
    """Return the installed versions of `PACKAGES` and further distributions."""
    return {name: version(name) for name in (*PACKAGES, *more)}


@cache
def git_commit() -> str | None:
    """Return the commit of the working directory, or None outside a repository.

    Read once per process: a commit made during training is not the code that trains.
    """
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
