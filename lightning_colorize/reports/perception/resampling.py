"""Intervals that account for correlated answers of one rater and to one image."""

from collections.abc import Sequence

import numpy as np

from lightning_colorize.reports.perception.answers import Rated

_RESAMPLES = 2000


def resampled_sums(rated: Sequence[Rated], values: np.ndarray, seed: int) -> np.ndarray:
    """Return sums over the answers of bootstrap samples.

    Raters and images are drawn with replacement, independently of each other; an answer counts as
    often as its rater times as often as its image (Owen 2007, "The pigeonhole bootstrap"). A single
    rater or image is in every sample once. The order of the answers does not matter.

    Args:
        rated: The answers.
        values: (answers, quantities), the terms of the sums.
        seed: Seed of the draws.

    Returns:
        (samples, quantities).
    """
    rng = np.random.default_rng(seed)
    row, of_rater = _draw([rater for rater, _ in rated], rng)
    column, of_image = _draw([trial.image for _, trial in rated], rng)
    sums = []
    for quantity in values.T:
        cells = np.zeros((of_rater.shape[1], of_image.shape[1]))
        np.add.at(cells, (row, column), quantity)
        sums.append(((of_rater @ cells) * of_image).sum(axis=1))
    return np.stack(sums, axis=1)


def _draw(labels: Sequence[str], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return each answer's index of its label, and how often each label is in each sample."""
    unique, index = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    count = len(unique)
    return index, rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(float)
