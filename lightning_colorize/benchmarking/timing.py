"""Repeated timings of the same work."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

_QUIET = 30.0  # seconds at most without a line


@dataclass
class Timing:
    """Repeated measurements of the same work.

    Attributes:
        images: Images worked on in each repeat.
        seconds: Time that each repeat took.
    """

    images: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, images: int, seconds: float) -> None:
        """Add a repeat."""
        self.images.append(images)
        self.seconds.append(seconds)

    @property
    def rates(self) -> list[float]:
        """Images per second of each repeat."""
        return [n / s for n, s in zip(self.images, self.seconds, strict=True)]

    @property
    def rate(self) -> float:
        """Their median."""
        return statistics.median(self.rates)

    def as_dict(self) -> dict[str, Any]:
        """Return median, range and raw times."""
        return {
            "images_per_second": summary(self.rates),
            "raw": {"images": self.images, "seconds": self.seconds},
        }


def summary(values: list[float]) -> dict[str, float]:
    """Return median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def measure(
    work: Callable[[], int],
    seconds: float,
    repeats: int = 5,
    warm_up: int = 1,
    device: torch.device | None = None,
) -> Timing:
    """Time some work over and over, at least one call in each repeat.

    Where that takes long, a line on stderr says so every 30 s; a moving bar would take time itself.

    Args:
        work: Does it, and returns the number of images that it worked on.
        seconds: Of all repeats together, about.
        repeats: Measurements.
        warm_up: Calls before the first of them.
        device: Where the work runs; its queue is emptied before each look at the clock.
    """
    for _ in range(warm_up):
        work()
    timing = Timing()
    begun = said = time.perf_counter()
    for _ in range(repeats):
        synchronize(device)
        start = now = time.perf_counter()
        images = 0
        while images == 0 or now - start < seconds / repeats:
            images += work()
            now = time.perf_counter()
            if now - said >= _QUIET:
                said = now
                print(f"measuring: {now - begun:.0f} of {seconds:.0f} s", file=sys.stderr)
        synchronize(device)
        timing.add(images, time.perf_counter() - start)
    return timing


def synchronize(device: torch.device | None) -> None:
    """Wait until an accelerator has done what it was given."""
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize()
