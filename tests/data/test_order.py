import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_colorize.data.order import AnyOrder, ShardOrder


def epoch(order, length, ranks=1, seed=0):
    return order.shuffled(np.random.default_rng(seed), length, ranks)


def shard_of(lengths, images):
    return np.searchsorted(np.cumsum(lengths), images, side="right")


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(0, 4),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_ranks_partition_a_permutation(lengths, window, ranks, seed):
    order = ShardOrder(np.array(lengths), window) if window else AnyOrder()
    length = sum(lengths)
    shuffled = epoch(order, length, ranks, seed)
    assert sorted(shuffled.tolist()) == list(range(length))
    parts = [shuffled[order.part(length, rank, ranks)] for rank in range(ranks)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    if window:  # ranks share shards only at borders
        assert sum(len(np.unique(shard_of(lengths, p))) for p in parts) <= len(lengths) + ranks - 1


@pytest.mark.parametrize("window", [1, 3])
def test_images_are_shuffled_within_a_window_of_shards(window):
    lengths = [20] * 12
    order = ShardOrder(np.array(lengths), window)
    images = epoch(order, 240)
    shards = shard_of(lengths, images)
    for start in range(0, 240, 20 * window):
        inside = shards[start : start + 20 * window]
        assert len(set(inside.tolist())) == window
        # Not one shard after the other.
        assert window == 1 or (np.diff(inside) != 0).sum() > 20
    assert (np.diff(images[:20]) != 1).any()
    firsts = {tuple(shard_of(lengths, epoch(order, 240, seed=seed)[::20])) for seed in range(5)}
    assert len(firsts) == 5
