"""Repeating a call that fails for a while."""

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
        call: Must be idempotent, as an answer may be lost on its way.
        delays: Seconds between calls, each shortened at random by up to half: not all processes
            shall call at the same moment.
        is_transient: Whether an error may pass.
        failed: Called with each error that another call follows, and the seconds until then.
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
