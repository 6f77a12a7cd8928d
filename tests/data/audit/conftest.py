"""Fixtures of the audit's tests: eight photographs, no two of which share a pixel."""

import numpy as np
import pytest

from lightning_colorize.data.sources import EmbeddedSource


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Eight squares of scikit-image's photographs, each (128, 128, 3), uint8."""
    squares = EmbeddedSource(region=128).splits(None)["val"]
    return [squares.read(index).permute(1, 2, 0).numpy() for index in range(len(squares))]
