"""Groups of duplicate images, and leaks between splits.

Two images are near duplicates if their descriptors are close. scipy's k-d tree finds such pairs
exactly without comparing all images with all: 1.3 million take minutes. (imagehash has hashes but
no search; faiss would be a second linear-algebra library of 30 MB.)

The relation is not transitive: successive frames of a pan are close, the first and the last are
not. So each image is compared with the representative of its group.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.spatial import KDTree

from lightning_colorize.common.processes import cores
from lightning_colorize.common.progress import progress
from lightning_colorize.data.audit.features import LENGTH, MIRRORED

RADIUS = 0.08
"""Largest distance between the descriptors of near duplicates. Measured on photographs: halving
the size and JPEG quality 70 move a descriptor by 0.005, one in a thousand by more than 0.032, none
by more than 0.062; see docs/how-to/audit.md for larger distances."""

_CHUNK = 8192  # about a second, after which Ctrl-C takes effect


@dataclass(frozen=True)
class Group:
    """Images that show the same as their representative, or a leaking pair.

    Attributes:
        members: Their indices, the representative first.
        exact: Whether their bytes are equal.
        splits: The split index of each member.
    """

    members: np.ndarray
    exact: bool
    splits: np.ndarray

    @property
    def representative(self) -> int:
        """Return the image that stays in the data set."""
        return int(self.members[0])

    @property
    def copies(self) -> np.ndarray:
        """Return the other images."""
        return self.members[1:]

    @property
    def leaks(self) -> bool:
        """Return whether the members are in more than one split."""
        return bool((self.splits != self.splits[0]).any())


def find_duplicates(
    features: np.ndarray, splits: np.ndarray, faulty: np.ndarray
) -> tuple[list[Group], list[Group]]:
    """Group the duplicates and near duplicates.

    The representative of a group is an image without other faults; then that of the later split,
    because a training image is missed least and metrics of validation and test images stay
    comparable; then the largest, in pixels and in bytes. No two representatives show the same.
    Members of different groups may: if they are in two splits, they are a leaking pair.

    Args:
        features: (N,) of `FEATURES`; zeros for broken images.
        splits: (N,), the split index of each image, in the order train, val, test.
        faulty: (N,), whether the image has another fault.

    Returns:
        The groups, leaking ones first, then in the order of the images; and at most one leaking
        pair for each two splits and image of the earlier split, unless its group leaks itself.
    """
    whole = np.flatnonzero(features["bytes"])
    best_first = np.lexsort(
        (
            -features["bytes"][whole],
            -features["height"][whole].astype(np.int64) * features["width"][whole],
            -splits[whole].astype(np.int64),
            faulty[whole],
        )
    )
    images = whole[best_first]  # from here on, an index is a position in this order
    digests, descriptors = features["digest"][images], features["descriptor"][images]
    equal = _first_equal(digests, descriptors)
    distinct = np.unique(equal)
    distinct = distinct[np.isfinite(descriptors[distinct, 0])]
    points = descriptors[distinct].astype(np.float64)
    leader = np.arange(len(images))
    leader[distinct] = distinct[assign_representatives(points)]
    leader = leader[equal]

    by_leader = np.argsort(leader, kind="stable")
    ends = np.flatnonzero(np.diff(leader[by_leader])) + 1
    groups = [
        Group(images[own], len(np.unique(digests[own])) == 1, splits[images[own]])
        for own in np.split(by_leader, ends)
        if len(own) > 1
    ]
    groups.sort(key=lambda group: (not group.leaks, group.members.min()))
    own_splits = splits[images]
    leaking = np.zeros(len(images), dtype=bool)
    leaking[leader[own_splits != own_splits[leader]]] = True
    pairs = [
        Group(images[pair], False, own_splits[pair])
        for pair in distinct[
            _pairs_across_splits(points, own_splits[distinct], leaking[leader[distinct]])
        ]
    ]
    return groups, pairs


def _first_equal(digests: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
    """Return for each image the first one with the same bytes or an equal descriptor, (N,)."""
    described = np.ascontiguousarray(descriptors).view(f"S{descriptors.itemsize * LENGTH}")[:, 0]
    flat = ~np.isfinite(descriptors[:, 0])
    # Equal bytes have equal descriptors; a flat image has only its digest.
    keys = np.where(flat, digests.astype(described.dtype), described)
    _, first, same = np.unique(keys, return_index=True, return_inverse=True)
    equal: np.ndarray = first[same]
    return equal


def _pairs_across_splits(
    descriptors: np.ndarray, splits: np.ndarray, reported: np.ndarray
) -> np.ndarray:
    """Return pairs of near duplicates in two splits, (P, 2), that of the later split first.

    At most one for each two splits and image of the earlier one. Images of a leaking group are
    skipped: that leak is reported, and the group may be a long sequence of frames.
    """
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for earlier, later in combinations(np.unique(splits), 2):
        queries = np.flatnonzero((splits == earlier) & ~reported)
        others = np.flatnonzero(splits == later)
        indices, found = match(descriptors[queries], descriptors[others])
        pairs.append(np.stack([others[found], queries[indices]], axis=1))
    return np.concatenate(pairs)


def assign_representatives(descriptors: np.ndarray) -> np.ndarray:
    """Choose representatives so that every image is a near duplicate of one.

    The first image is one, and so is each that is near no earlier representative. Only these
    query the tree, so a thousand frames of one camera do not make a million pairs.

    Args:
        descriptors: (N, 35), finite, distinct, the preferred representatives first.

    Returns:
        (N,), the index of the first representative near each image; its own for a representative.
    """
    representative = np.full(len(descriptors), -1)
    tree = KDTree(descriptors)
    steps = range(len(descriptors))
    for index in progress(steps, len(steps), "grouping duplicates"):
        if representative[index] < 0:
            query = np.stack([descriptors[index], descriptors[index] * MIRRORED])
            near = np.concatenate([[index], *tree.query_ball_point(query, RADIUS)]).astype(int)
            representative[near[representative[near] < 0]] = index
    return representative


def match(descriptors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find a near duplicate of each image among others.

    Args:
        descriptors: (N, 35), finite.
        others: (M, 35), M > 0, finite, distinct: a leaf of the tree cannot separate equal points.

    Returns:
        The indices of the images that have one, and the indices of these, both (P,).
    """
    found = [np.empty((2, 0), dtype=np.intp)]
    tree = KDTree(others)
    starts = range(0, len(descriptors), _CHUNK)
    for first in progress(starts, len(starts), "finding leaks"):
        queries = descriptors[first : first + _CHUNK]
        # Mirror images are duplicates, because training flips at random.
        near = [
            tree.query(query, distance_upper_bound=RADIUS, workers=cores())[1]
            for query in (queries, queries * MIRRORED)
        ]
        pairs = np.stack([first + np.arange(len(queries)), np.minimum(*near)])
        found.append(pairs[:, pairs[1] < len(others)])
    indices, matched = np.concatenate(found, axis=1)
    return indices, matched
