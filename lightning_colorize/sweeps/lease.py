"""Who works on a trial, and whether he still does."""

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RENEW_EVERY = 10.0
"""Seconds between two renewals of a lease."""

STALE_AFTER = 60.0
"""Seconds without renewal after which a worker is taken for dead."""


@dataclass(frozen=True)
class Holder:
    """A worker, as leases name it.

    Attributes:
        worker: Nobody else's name.
        machine: Says where its process number means something; None where that cannot be known.
        pid: The number.
    """

    worker: str
    machine: str | None
    pid: int

    @classmethod
    def me(cls) -> "Holder":
        """Return this process, under a name that it has not used before."""
        return cls(secrets.token_hex(8), _machine(), os.getpid())

    def lease(self) -> dict[str, Any]:
        """Return a lease that is fresh now."""
        return {
            "worker": self.worker,
            "machine": self.machine,
            "pid": self.pid,
            "renewed": time.time(),
        }


def is_dead(lease: Mapping[str, Any] | None) -> bool:
    """Return whether a lease's holder is known to be gone, without waiting.

    No lease is that of a worker that was killed between choosing a trial and signing it: to be
    asked only under the study's lock.
    """
    if lease is None:
        return True
    if lease["machine"] is None or lease["machine"] != _machine():
        return False
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def is_old(lease: Mapping[str, Any] | None, stale_after: float) -> bool:
    """Return whether a lease has not been renewed for so many seconds, by the machines' clocks."""
    return lease is None or time.time() - float(lease["renewed"]) > stale_after


def _machine() -> str | None:
    """Return what processes share that see each other's numbers: a boot and a PID namespace.

    A host's name would not do: containers on two machines may have the same.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None
