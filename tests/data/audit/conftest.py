"""Fixtures of the audit's tests: eight photographs, no two of which share a pixel."""

import numpy as np
import pytest

from lightning_colorize.data.sources import EmbeddedSource, embedded


def large_squares() -> list[np.ndarray]:
    """Return eight squares of scikit-image's photographs, each (128, 128, 3), uint8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_SQUARE", 128)
        squares = EmbeddedSource().splits(None)["val"]
    return [squares.read(index).permute(1, 2, 0).numpy() for index in range(len(squares))]


@pytest.fixture(scope="session")
def photographs():
    return large_squares()
