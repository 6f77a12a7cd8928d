"""Near duplicates: descriptors that lie close together, found without comparing all with all.

scipy's k-d tree finds them exactly, and the closer two images must be, the fewer of its leaves it
opens: 1.3 million take minutes. It was already needed here; imagehash has hashes but no search,
and faiss would be a second linear-algebra library of 30 MB for one search.

Images are compared with a kept one, never by way of others: the frames of a pan are each close to
the next, and the first and the last show different things.
"""

import numpy as np
from scipy.spatial import KDTree

from lightning_colorize.common.processes import cores
from lightning_colorize.common.progress import progress
from lightning_colorize.data.audit.descriptor import MIRRORED

RADIUS = 0.08
"""How far apart two descriptors of one image may be. Measured on photographs: halved and
compressed to JPEG quality 70 they move by 0.005, one in a thousand by more than 0.032, none by more
than 0.062; docs/audit.md says what is found beyond."""

_AT_ONCE = 8192  # a second or so, after which an interruption is heard


def cover(descriptors: np.ndarray) -> np.ndarray:
    """Choose images to keep so that each other one shows the same as one that is kept.

    The first is kept, and so is each that is near none of those kept before. Only these are asked
    for their neighbours, so that a thousand frames of one camera do not make a million pairs.

    Args:
        descriptors: (N, 35), finite, no two the same, the image that is best kept first.

    Returns:
        (N,), the number of the first kept one that is near each; of a kept one, its own.
    """
    kept = np.full(len(descriptors), -1)
    if not len(descriptors):
        return kept
    tree = KDTree(descriptors)
    steps = range(len(descriptors))
    for number in progress(steps, len(steps), "choosing what to keep", bar_from=10_000):
        if kept[number] < 0:
            turned = np.stack([descriptors[number], descriptors[number] * MIRRORED])
            near = np.concatenate([[number], *tree.query_ball_point(turned, RADIUS)]).astype(int)
            kept[near[kept[near] < 0]] = number
    return kept


def matches(descriptors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each image one among others that shows the same.

    Args:
        descriptors: (N, 35), finite.
        others: (M, 35), finite, no two the same: a leaf of the tree cannot part these.

    Returns:
        The numbers of the images that have one, and the numbers of these, both (P,).
    """
    found = [np.empty((2, 0), dtype=np.intp)]
    if len(others):
        tree = KDTree(others)
        starts = range(0, len(descriptors), _AT_ONCE)
        for first in progress(starts, len(starts), "looking for leaks", bar_from=10):
            asked = descriptors[first : first + _AT_ONCE]
            # A mirror image trains as the image itself does where training mirrors at random.
            near = [
                tree.query(turned, distance_upper_bound=RADIUS, workers=cores())[1]
                for turned in (asked, asked * MIRRORED)
            ]
            pairs = np.stack([first + np.arange(len(asked)), np.minimum(*near)])
            found.append(pairs[:, pairs[1] < len(others)])
    numbers, matched = np.concatenate(found, axis=1)
    return numbers, matched
