"""Repeated timings of the same work."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from lightning_colorize.common.progress import LineClock


@dataclass
class Timing:
    """Repeated measurements of the same work."""

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
        """The median rate."""
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
    """Time a function repeatedly, with at least one call per repeat.

    `work` returns the number of images processed; `seconds` is the approximate total time. The
    `device` is synchronized before the clock is read. A long measurement prints a line to stderr
    every 30 s. A progress bar would distort it.
    """
    for _ in range(warm_up):
        work()
    timing = Timing()
    begun, clock = time.perf_counter(), LineClock()
    for _ in range(repeats):
        synchronize(device)
        start = now = time.perf_counter()
        images = 0
        while images == 0 or now - start < seconds / repeats:
            images += work()
            now = time.perf_counter()
            if clock.is_due():
                print(f"measuring: {now - begun:.0f} of {seconds:.0f} s", file=sys.stderr)
        synchronize(device)
        timing.add(images, time.perf_counter() - start)
    return timing


def synchronize(device: torch.device | None) -> None:
    """Wait for an accelerator to finish."""
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize()
