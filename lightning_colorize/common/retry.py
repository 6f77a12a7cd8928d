"""Retrying a call after transient errors."""

import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


def retry(
    call: Callable[[], Result],
    delays: Iterable[float],
    is_transient: Callable[[Exception], bool],
    failed: Callable[[Exception, float], None],
) -> Result:
    """Call until it succeeds, an error is not transient, or the delays are used up.

    Args:
        call: The function to call; must be idempotent, because a response may be lost.
        delays: Seconds between calls, each shortened at random by up to half, so that processes
            do not call at the same moment.
        is_transient: Returns whether an error is transient.
        failed: Called before each retry with the error and the seconds to wait.
    """
    for delay in delays:
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
            pause = delay * random.uniform(0.5, 1.0)
            failed(error, pause)
        time.sleep(pause)
    return call()
