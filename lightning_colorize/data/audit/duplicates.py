"""Groups of duplicate images, and leaks between splits.

Near duplication is not transitive: successive frames of a pan are near duplicates, the first and
the last are not. So each image is compared with the representative of its group.
"""

from dataclasses import dataclass

import numpy as np

from lightning_colorize.common.progress import progress

_DISTANCE = 50  # most different bits, of 256; see docs/how-to/audit.md
_COMPARED = 2**22  # pairs at a time, of 32 bytes each


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that show the same as their representative, or a leaking pair.

    `members` are their indices, the representative first; `exact` means that their bytes are equal.
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
) -> tuple[list[DuplicateGroup], list[DuplicateGroup]]:
    """Group the duplicates and near duplicates.

    The representative of a group is preferably an image without other faults, then one from the
    later split (removing a training image costs least, and validation and test metrics stay
    comparable), then the largest in pixels and in bytes. No two representatives are near
    duplicates. Members of different groups may be: if they are in two splits, they are a leaking
    pair.

    All arrays are (N,): `features` of dtype `FEATURES`, zeros for broken images; `splits`, the
    index of the split in the order train, val, test; `faulty`, whether the image has another fault.

    Returns:
        The groups, leaking ones first, then in the order of the images; and for each image of a
        split at most one leaking pair with each later split, unless the image's own group leaks.
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
    digests, own_splits = features["digest"][images], splits[images]
    _, first, same = np.unique(digests, return_index=True, return_inverse=True)
    equal = first[same]
    distinct = np.unique(equal)
    distinct = distinct[features["hashes"][images[distinct]].any(axis=(1, 2))]
    near = distinct[near_pairs(features["hashes"][images[distinct]])]
    leader = assign_representatives(len(images), near)[equal]

    by_leader = np.argsort(leader, kind="stable")
    ends = np.flatnonzero(np.diff(leader[by_leader])) + 1
    groups = [
        DuplicateGroup(images[own], len(np.unique(digests[own])) == 1, splits[images[own]])
        for own in np.split(by_leader, ends)
        if len(own) > 1
    ]
    groups.sort(key=lambda group: (not group.leaks, group.members.min()))
    leaking = np.zeros(len(images), dtype=bool)
    leaking[leader[own_splits != own_splits[leader]]] = True
    # The image of the later split first.
    across = near[own_splits[near[:, 0]] > own_splits[near[:, 1]]]
    across = across[~leaking[leader[across[:, 1]]]]
    keys = np.stack([own_splits[across[:, 0]], across[:, 1]], axis=1)
    across = across[np.unique(keys, axis=0, return_index=True)[1]]
    return groups, [DuplicateGroup(images[pair], False, own_splits[pair]) for pair in across]


def near_pairs(hashes: np.ndarray) -> np.ndarray:
    """Return the pairs of near duplicates in both orders, (P, 2), sorted.

    `hashes` are (N, V, 32), uint8, the hash of the whole image first. Each variant of an image is
    compared with the other whole images that have one of eight bands in common: the eight lowest
    horizontal frequencies at one of the eight lowest vertical ones.
    """
    words = hashes.view(np.uint64)
    pairs = np.empty(0, np.int64)
    for band in progress(range(0, 16, 2), 8, "finding near duplicates"):
        members = [np.flatnonzero(hashes[:, 0, band] == key) for key in range(256)]
        for variant in range(hashes.shape[1]):
            found = [pairs]
            order = np.argsort(hashes[:, variant, band], kind="stable")
            ends = np.searchsorted(hashes[order, variant, band], range(1, 256))
            for queries, others in zip(np.split(order, ends), members, strict=True):
                for part in np.array_split(queries, len(queries) * len(others) // _COMPARED + 1):
                    differing = words[part, variant, None] ^ words[others, 0]
                    row, column = np.nonzero(
                        np.bitwise_count(differing).sum(-1, dtype=np.uint16) <= _DISTANCE
                    )
                    one, other = part[row], others[column]
                    found.append(np.minimum(one, other) * len(hashes) + np.maximum(one, other))
            pairs = np.unique(np.concatenate(found))
    one, other = np.divmod(pairs, max(len(hashes), 1))
    both = np.stack([one, other], axis=1)[one != other]
    return np.unique(np.concatenate([both, both[:, ::-1]]), axis=0)


def assign_representatives(count: int, near: np.ndarray) -> np.ndarray:
    """Choose representatives so that every image is a near duplicate of one.

    The first image is a representative, and so is each image that is not near an earlier one.
    `near` are pairs of near duplicates in both orders, (P, 2), sorted. Returns (N,), the index of
    the first representative near each image; its own for a representative.
    """
    representative = np.full(count, -1)
    for index in np.unique(near[:, 0]):
        if representative[index] < 0:
            start, end = np.searchsorted(near[:, 0], [index, index + 1])
            members = np.append(near[start:end, 1], index)
            representative[members[representative[members] < 0]] = index
    return np.where(representative < 0, np.arange(count), representative)
