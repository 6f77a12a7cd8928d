"""Calls to a study's database that outlive its restart."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError

from lightning_colorize.common.errors import WorkError

Result = TypeVar("Result")

_LONGEST_PAUSE = 5.0


class ConnectionLost(Exception):
    """The connection that held a study's lock is gone, and the lock with it."""


class LockHeld(WorkError):
    """Another process keeps a study's lock for longer than any work under it takes."""


def is_passing(error: Exception) -> bool:
    """Return whether the same call may succeed later: the server restarts, a file is locked."""
    if isinstance(error, ConnectionLost | LockHeld):
        return True
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not type(cause).__module__.startswith("sqlalchemy"):
        return False
    from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, PendingRollbackError

    passing = (OperationalError, InterfaceError, InternalError, PendingRollbackError)
    return isinstance(cause, passing)


def first_line(error: BaseException) -> str:
    """Return what a database says, without the statement and advice that follow."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    said = str(getattr(cause, "orig", None) or cause)
    return said.strip().partition("\n")[0]


def patiently(
    call: Callable[[], Result],
    patience: Callable[[], float],
    failed: Callable[[Exception], None],
) -> Result:
    """Call until it succeeds, with pauses that double.

    Args:
        call: What to do; must be harmless to do twice, as an answer may be lost on its way.
        patience: Seconds from the first failure after which to give up; asked again each time.
        failed: Told of each failure.

    Raises:
        WorkError: If the patience is over.
    """
    pause, since = 0.1, time.monotonic()
    while True:
        try:
            return call()
        except Exception as error:
            if not is_passing(error):
                raise
            failed(error)
            if time.monotonic() - since > patience():
                raise WorkError(
                    f"the study's database has not answered for {patience():.0f} s "
                    f"({first_line(error)}); once it does, go on with sweep resume"
                ) from None
        # Not all workers at the same moment.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)
