"""What a run says when its folder takes nothing more: a full disk, a quota, a lock."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_colorize.common.errors import WorkError
from lightning_colorize.runs.folder import LAST
from lightning_colorize.training.cli import checkpoint_step

_FULL_OR_LOCKED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@contextmanager
def one_line_if_full(folder: Path) -> Iterator[None]:
    """Turn the error of a write to a full or locked run folder into one that says what to do.

    Args:
        folder: The run's.

    Raises:
        WorkError: In place of the error.
    """

    def hook(args: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread, and hands the error on when it is next called.
        if not (isinstance(args.exc_value, OSError) and _is_full_or_locked(args.exc_value, folder)):
            former(args)

    former, threading.excepthook = threading.excepthook, hook
    try:
        yield
    except OSError as error:
        if not _is_full_or_locked(error, folder):
            raise
        raise WorkError(_what_to_do(error, folder)) from None
    finally:
        threading.excepthook = former


def _is_full_or_locked(error: OSError, folder: Path) -> bool:
    if error.errno in _FULL_OR_LOCKED:
        return True
    return isinstance(error, PermissionError) and str(folder) in str(error.filename)


def _what_to_do(error: OSError, folder: Path) -> str:
    wrong = f"{folder} cannot be written to: {error.strerror}"
    if not (folder / LAST).is_file():
        return f"{wrong}; there is no checkpoint yet: mend that, then train it anew with fit"
    return (
        f"{wrong}; the checkpoint of step {checkpoint_step(folder / LAST)} is whole: mend that, "
        f"then lightning-colorize resume {folder}"
    )
