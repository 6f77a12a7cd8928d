"""Intervals that respect that answers of one rater, and answers to one image, are alike."""

from collections.abc import Sequence

import numpy as np

from lightning_colorize.metrics.spec import CONFIDENCE

RESAMPLES = 2000
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def draw_weights(
    raters: Sequence[str], images: Sequence[str], seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Return how often each answer is in each bootstrap sample.

    Raters and images are drawn with replacement, independently of each other; an answer counts as
    often as its rater times as often as its image (the pigeonhole bootstrap; Owen 2007, "The
    pigeonhole bootstrap"). A single rater or image is in every sample once. The
    order of the answers does not matter.

    Args:
        raters: The rater of each answer.
        images: The image of each answer.
        seed: Seed of the draws.
        resamples: Number of samples.

    Returns:
        (resamples, answers), float32.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((resamples, len(raters)), dtype=np.float32)
    for labels in (raters, images):
        index = {label: i for i, label in enumerate(sorted(set(labels)))}
        count = len(index)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        weights *= drawn.astype(np.float32)[:, [index[label] for label in labels]]
    return weights
