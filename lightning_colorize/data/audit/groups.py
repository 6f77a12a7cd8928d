"""Images that are there more than once, and which one of them is kept."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lightning_colorize.data.audit.descriptor import LENGTH
from lightning_colorize.data.audit.near import cover, matches


@dataclass(frozen=True)
class Group:
    """Images that show the same as one of them.

    Attributes:
        members: Their numbers, the one that is kept first.
        exact: Whether they are the same bytes.
        splits: The numbers of the splits that they are in, in the order of `members`.
    """

    members: np.ndarray
    exact: bool
    splits: np.ndarray

    @property
    def kept(self) -> int:
        """Return the one that is kept."""
        return int(self.members[0])

    @property
    def copies(self) -> np.ndarray:
        """Return the others."""
        return self.members[1:]

    @property
    def leaks(self) -> bool:
        """Return whether they are in more than one split."""
        return bool((self.splits != self.splits[0]).any())


@dataclass(frozen=True)
class Crossing:
    """An image that shows the same as one of another split, which is of another group.

    Attributes:
        members: Their numbers, that of the later split first.
        splits: The numbers of their splits.
        exact: Never: images of the same bytes are of one group.
    """

    members: np.ndarray
    splits: np.ndarray
    exact: bool = False


def find_groups(
    looks: np.ndarray, splits: np.ndarray, faulty: np.ndarray
) -> tuple[list[Group], list[Crossing]]:
    """Find the images that are there more than once.

    Of those that show the same, that image is kept which has no other fault; then that of the
    later split, since one training image among many is missed least, and figures on validation
    and test images stay comparable; then the largest, in pixels and in bytes. No two that are
    kept show the same. Two that are not may do so and belong to different ones; where these two are
    of two splits, it is a leak that no group has.

    Args:
        looks: What was seen of each image, (N,) of `LOOK`; of broken ones, zeros.
        splits: Each one's split, (N,), numbered in the order train, val, test.
        faulty: Whether something else is wrong with it, (N,).

    Returns:
        The groups, those of several splits first, then in the order of the images; and of each
        two splits the leaks that no group has, one for each image of the earlier split whose
        group does not leak by itself.
    """
    whole = np.flatnonzero(looks["bytes"])
    best_first = np.lexsort(
        (
            -looks["bytes"][whole],
            -looks["height"][whole].astype(np.int64) * looks["width"][whole],
            -splits[whole].astype(np.int64),
            faulty[whole],
        )
    )
    images = whole[best_first]  # from here on, a number is a place in this order
    digests, descriptors = looks["digest"][images], looks["descriptor"][images]
    alike = _alike(digests, descriptors)
    chosen = np.unique(alike)
    chosen = chosen[np.isfinite(descriptors[chosen, 0])]
    near = descriptors[chosen].astype(np.float64)
    leader = np.arange(len(images))
    leader[chosen] = chosen[cover(near)]
    leader = leader[alike]

    by_leader = np.argsort(leader, kind="stable")
    ends = np.flatnonzero(np.diff(leader[by_leader])) + 1
    groups = [
        Group(images[own], len(np.unique(digests[own])) == 1, splits[images[own]])
        for own in np.split(by_leader, ends)
        if len(own) > 1
    ]
    groups.sort(key=lambda group: (not group.leaks, group.members.min()))
    # Of those alike the first stands for all: where these are of several splits, their group leaks.
    own_splits = splits[images]
    leaking = np.zeros(len(images), dtype=bool)
    leaking[leader[own_splits != own_splits[leader]]] = True
    told = leaking[leader[chosen]]
    crossings = [
        Crossing(images[pair], own_splits[pair])
        for pair in chosen[_pairs_of_splits(near, own_splits[chosen], told)]
    ]
    return groups, crossings


def _alike(digests: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
    """Return the first image of the same bytes or the very same descriptor, for each, (N,)."""
    described = np.ascontiguousarray(descriptors).view(f"S{descriptors.itemsize * LENGTH}")[:, 0]
    flat = ~np.isfinite(descriptors[:, 0])
    # Of the same bytes the descriptor is the same; one that is flat has none.
    keys = np.where(flat, digests.astype(described.dtype), described)
    _, first, same = np.unique(keys, return_index=True, return_inverse=True)
    alike: np.ndarray = first[same]
    return alike


def _pairs_of_splits(descriptors: np.ndarray, splits: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Return numbers of two that show the same, (P, 2), that of the later split first.

    At most one for each two splits and image of the earlier one; none for those of a group that
    leaks by itself, which has been told and may be a long stretch of frames.
    """
    pairs = [np.empty((0, 2), dtype=np.intp)]
    for earlier, later in combinations(np.unique(splits), 2):
        asking = np.flatnonzero((splits == earlier) & ~told)
        others = np.flatnonzero(splits == later)
        numbers, found = matches(descriptors[asking], descriptors[others])
        pairs.append(np.stack([others[found], asking[numbers]], axis=1))
    return np.concatenate(pairs)
