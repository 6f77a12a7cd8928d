"""Provenance of a result: package versions and git commit.

Imports nothing heavy.
"""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("lightning-colorize", "torch", "torchvision", "pytorch-lightning", "kornia")
"""The distributions on which a result depends."""


def versions(*more: str) -> dict[str, str]:
    """Return the installed versions of `PACKAGES` and more distributions."""
    return {name: version(name) for name in (*PACKAGES, *more)}


@cache
def git_commit() -> str | None:
    """Return the commit of this package's source, or None outside of a repository.

    Read once per process: a commit made during training is not the code that trains.
    """
    source = Path(__file__)
    # The second name fails in a repository that only surrounds the environment of the package.
    words = ["git", "rev-parse", "HEAD", f"HEAD:./{source.name}"]
    try:
        done = subprocess.run(
            words, cwd=source.parent, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split()[0]
