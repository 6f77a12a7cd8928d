"""Pictures that are there more than once, and which one of them is kept."""

from dataclasses import dataclass

import numpy as np

from lightning_colorize.data.audit.near import join, near_groups


@dataclass(frozen=True)
class Group:
    """Pictures that show the same.

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


def find_groups(looks: np.ndarray, splits: np.ndarray, faulty: np.ndarray) -> list[Group]:
    """Find the pictures that are there more than once.

    Of each group that picture is kept which has no other fault; then that of the later split, since
    one training picture among many is missed least, and figures on validation and test pictures
    stay comparable; then the largest, in pixels and in bytes.

    Args:
        looks: What was seen of each picture, (N,) of `LOOK`; of broken ones, zeros.
        splits: Each one's split, (N,), numbered in the order train, val, test.
        faulty: Whether something else is wrong with it, (N,).

    Returns:
        The groups, those of several splits first, then in the order of the pictures.
    """
    whole = np.flatnonzero(looks["bytes"])
    _, first, same = np.unique(looks["digest"][whole], return_index=True, return_inverse=True)
    described = np.flatnonzero(np.isfinite(looks["descriptor"][whole[first], 0]))
    near = near_groups(looks["descriptor"][whole[first[described]]])
    # Each stands for its group of near ones: a pair with the first of the group joins them.
    leader = described[np.unique(near, return_index=True)[1]][near]
    labels = join(len(first), np.stack([described, leader], axis=1))[same]

    order = np.lexsort(
        (
            -looks["bytes"][whole],
            -looks["height"][whole].astype(np.int64) * looks["width"][whole],
            -splits[whole].astype(np.int64),
            faulty[whole],
            labels,
        )
    )
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    groups = [
        Group(members, len(np.unique(looks["digest"][members])) == 1, splits[members])
        for members in np.split(whole[order], ends)
        if len(members) > 1
    ]
    return sorted(groups, key=lambda group: (not group.leaks, group.members.min()))
