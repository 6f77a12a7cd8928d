"""Near duplicates: descriptors that lie close together, found without comparing all with all.

scipy's k-d tree finds them exactly, and the closer two pictures must be, the fewer of its leaves it
opens: 1.3 million take minutes. It was already needed here; imagehash has hashes but no search,
and faiss would be a second linear-algebra library of 30 MB for one search.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from lightning_colorize.data.audit.descriptor import MIRRORED
from lightning_colorize.processes import cores
from lightning_colorize.progress import progress

RADIUS = 0.08
"""How far apart two descriptors of one picture may be. Measured on photographs: halved and
compressed to JPEG quality 70 they move by 0.005, one in a thousand by more than 0.032, none by more
than 0.062; docs/audit.md says what is found beyond."""

_NEIGHBOURS = 16
_AT_ONCE = 8192  # a second or so, after which an interruption is heard


def near_groups(descriptors: np.ndarray) -> np.ndarray:
    """Give pictures that show the same, or its mirror image, the same number.

    A picture is compared with its nearest neighbours only, so that a thousand frames of one camera
    do not make a million pairs. Where there may be more of them, one of each group found is
    compared again, until nothing joins.

    Args:
        descriptors: (N, 35), finite.

    Returns:
        (N,), group numbers from 0.
    """
    groups = np.arange(len(descriptors))
    while True:
        chosen = np.unique(groups, return_index=True)[1]
        pairs, all_found = _pairs(descriptors[chosen].astype(np.float64))
        joined = join(len(chosen), pairs)
        groups = joined[groups]
        if all_found or joined.max() + 1 == len(chosen):
            return groups


def join(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return the group number of each of `count` things, (count,), as pairs, (P, 2), join them."""
    graph = coo_array((np.ones(len(pairs), dtype=bool), pairs.T), shape=(count, count))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups


def _pairs(descriptors: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return pairs of neighbours, (P, 2), and whether these are all."""
    if not len(descriptors):
        return np.empty((0, 2), dtype=np.int64), True
    tree = KDTree(descriptors)
    pairs = []
    all_found = True
    for first in _starts(len(descriptors)):
        asked = descriptors[first : first + _AT_ONCE]
        # A mirror image trains as the picture itself does where training mirrors at random.
        for turned in (asked, asked * MIRRORED):
            distances, found = tree.query(
                turned, k=_NEIGHBOURS, distance_upper_bound=RADIUS, workers=cores()
            )
            near = np.isfinite(distances)
            all_found &= not near[:, -1].any()
            asking = first + np.nonzero(near)[0]
            pairs.append(np.stack([asking, found[near]], axis=1))
    return np.concatenate(pairs), bool(all_found)


def _starts(count: int) -> Iterator[int]:
    starts = range(0, count, _AT_ONCE)
    return progress(starts, len(starts), "looking for duplicates", bar_from=10)
