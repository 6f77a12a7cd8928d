"""The report of a script."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path


def command_of(script: str, words: Iterable[str]) -> str:
    """Return the command of a script, for its report.

    Args:
        script: Its name, without `.py`.
        words: Its arguments. Only the last part of an absolute path is kept: a report is
            published, and the folders of this machine are private.
    """
    absolute = re.compile(r"""(?<![^=,["'])/[^,"'\]]*""")
    shown = [absolute.sub(lambda path: Path(path[0]).name, word) for word in words]
    return shlex.join(["python", f"benchmarks/{script}.py", *shown])
