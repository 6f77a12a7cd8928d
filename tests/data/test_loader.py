import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.corrupt import CorruptImages, TooManyCorrupt
from lightning_colorize.data.dataset import ImageDataset
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.device.transfer import prefetched
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.data.loader import EpochBatches, ImageLoader
from lightning_colorize.data.order import AnyOrder, ShardOrder
from lightning_colorize.data.sources.listing import read_name_list


class Numbered(ImageSet):
    """Wide images whose columns count up from the image's number; some are broken."""

    def __init__(self, count, broken=()):
        self.names = [*map(str, range(count))]
        self.broken = set(broken)

    def read(self, index, min_side=None):
        if index in self.broken:
            raise ImageError(Path(str(index)), "not an image")
        columns = (torch.arange(20) + 5 * index).to(torch.uint8)
        return columns.expand(3, 4, 20)


def make_loader(
    count=10, batch_size=3, *, shuffle=True, broken=(), report=None, share=1.0, workers=0, **sampler
):
    images = sampler.pop("images", None) or Numbered(count, broken)
    options = {name: sampler.pop(name) for name in ("receive", "device_type") if name in sampler}
    return ImageLoader(
        ImageDataset(images, 4, training=shuffle),
        EpochBatches(count, batch_size, shuffle=shuffle, **sampler),
        CorruptImages(count, share, report),
        seed_batches=shuffle,
        num_workers=workers,
        **options,
    )


def numbers(batches):
    """The images' numbers, batch by batch."""
    return [[int(name) for name in batch.names] for batch in batches]


def joined(lists):
    return [number for numbers in lists for number in numbers]


def flat(batches):
    return joined(numbers(batches))


SHARDS = ShardOrder(np.array([4, 3, 5, 4, 4, 4]), window=2)


def delivered(loader):
    """All that training can see: names, pixels, and random numbers drawn after the batch."""
    return [(b.names, b.rgb.tolist(), torch.rand(3).tolist()) for b in loader]


def test_incomplete_batch_is_dropped_at_random():
    loader = make_loader(10, 3)
    left_out = set()
    for _ in range(20):
        drawn = flat(loader)
        assert len(drawn) == len(set(drawn)) == 9
        left_out |= set(range(10)) - set(drawn)
    assert len(left_out) > 3
    assert len(make_loader(2, 3)) == 1
    assert sorted(flat(make_loader(2, 3))) == [0, 1]  # the only batch


def test_order_follows_epoch_and_seed():
    loader = make_loader(12, 3, seed=7)
    epochs = [flat(loader) for _ in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    again = make_loader(12, 3, seed=7)
    assert [flat(again) for _ in range(4)] == epochs
    assert flat(make_loader(12, 3, seed=8)) != epochs[0]


@pytest.mark.parametrize("ranks", [2, 3])
def test_global_batches_do_not_depend_on_ranks(ranks):
    alone = make_loader(26, 6, seed=3)
    group = [make_loader(26, 6 // ranks, seed=3, rank=rank, ranks=ranks) for rank in range(ranks)]
    for _ in range(2):
        parts = [numbers(loader) for loader in group]
        together = [[n for part in batch for n in part] for batch in zip(*parts, strict=True)]
        one = numbers(alone)
        assert [sorted(batch) for batch in together] == [sorted(batch) for batch in one]
        assert len(joined(together)) == len(set(joined(together))) == 24


def test_evaluation_has_each_image_once_over_all_ranks():
    group = [make_loader(11, 2, shuffle=False, rank=rank, ranks=3) for rank in range(3)]
    parts = [flat(loader) for loader in group]
    assert sorted(joined(parts)) == list(range(11))
    assert [len(part) for part in parts] == [4, 4, 3]
    assert [len(loader) for loader in group] == [2, 2, 2]
    assert flat(make_loader(11, 2, shuffle=False)) == list(range(11))
    group = [make_loader(24, 4, shuffle=False, order=SHARDS, rank=r, ranks=3) for r in range(3)]
    assert [flat(loader) for loader in group] == [[*range(n, n + 8)] for n in (0, 8, 16)]
    assert [len(loader) for loader in group] == [2, 2, 2]


def test_weights_are_relative_frequencies():
    weights = np.repeat([6.0, 3.0, 1.0, 0.0], 1000)
    drawn = [n for batch in EpochBatches(4000, 8, shuffle=True, weights=weights) for n, _ in batch]
    shares = np.bincount(np.array(drawn) // 1000, minlength=4) / 4000
    assert shares == pytest.approx([0.6, 0.3, 0.1, 0], abs=0.03)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("order", [AnyOrder(), ShardOrder(np.array([4, 3, 5]), window=2)])
@pytest.mark.parametrize("stop_at", [1, 2])
def test_resume_in_mid_epoch_is_bit_exact(workers, order, stop_at):
    options = {"workers": workers, "order": order}
    uninterrupted = make_loader(12, 3, **options)
    delivered(uninterrupted)
    second, third = delivered(uninterrupted), delivered(uninterrupted)

    stopped = make_loader(12, 3, **options)
    delivered(stopped)
    iterator = iter(stopped)
    for _ in range(stop_at):
        next(iterator)
    state = stopped.state_dict()
    assert state == {"epoch": 1, "position": stop_at, "batches": 4, "batch_size": 3, "ranks": 1}

    resumed = make_loader(12, 3, **options)
    resumed.load_state_dict(state)
    torch.manual_seed(99)
    assert delivered(resumed) == second[stop_at:]
    assert delivered(resumed) == third


def test_crops_are_at_random_positions():
    loader = make_loader(6, 3)
    # The first column says which image it is (5 apart) and where it was cut (0 to 16).
    batches = [batch for _ in range(10) for batch in loader]
    firsts = [int(row) for batch in batches for row in batch.rgb[:, 0, 0, 0]]
    offsets = {first - 5 * number for first, number in zip(firsts, flat(batches), strict=True)}
    assert offsets <= set(range(17))
    assert len(offsets) > 5


def test_seeds_of_batches():
    """Each batch of each rank has its own; evaluation leaves torch's generator alone."""

    def draws(seed=0, **options):
        torch.manual_seed(seed)
        return [tuple(drawn) for _, _, drawn in delivered(make_loader(12, 3, **options))]

    assert len({*draws(), *draws(rank=1, ranks=2)}) == 4 + 2
    assert draws(seed=1) == draws(seed=2)
    assert draws(seed=1, shuffle=False) != draws(seed=2, shuffle=False)


def test_abandoned_epoch_is_followed_by_the_next():
    uninterrupted = make_loader(12, 3)
    epochs = [numbers(uninterrupted) for _ in range(2)]
    loader = make_loader(12, 3)
    assert numbers(islice(loader, 2)) == epochs[0][:2]
    assert numbers(loader) == epochs[1]


@pytest.mark.parametrize("batches", [2, 4])
def test_resume_at_the_end_of_an_epoch(batches):
    loader = make_loader(12, 3)
    list(islice(loader, batches))
    loader.end_epoch()
    resumed = make_loader(12, 3)
    resumed.load_state_dict(loader.state_dict())
    assert numbers(resumed) == numbers(loader)


@pytest.mark.parametrize(("count", "batch_size"), [(30, 3), (12, 1), (6, 3)])
def test_after_the_end_of_an_epoch_a_longer_or_shorter_one_is_whole(count, batch_size):
    loader = make_loader(12, 3)
    list(loader)
    resumed = make_loader(count, batch_size)
    resumed.load_state_dict(loader.state_dict())
    assert sorted(flat(resumed)) == list(range(count))
    assert resumed.state_dict()["epoch"] == loader.state_dict()["epoch"] + 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 4}, "with 3 images in a batch over all processes, not 4"),
        ({"count": 30}, "with 8 batches, not 10"),
        ({"batch_size": 1, "ranks": 3, "order": SHARDS}, "1 processes that share .*, not 3"),
    ],
)
def test_resume_in_mid_epoch_with_other_batches_is_refused(other, message):
    stopped = make_loader(24, 3)
    batches = iter(stopped)
    next(batches)
    with pytest.raises(UsageError, match=message):
        make_loader(**{"count": 24, "batch_size": 3, **other}).load_state_dict(stopped.state_dict())
    # In the usual order the batches of all ranks together are the same.
    make_loader(24, 1, ranks=3).load_state_dict(stopped.state_dict())
    list(batches)
    make_loader(24, 4).load_state_dict(stopped.state_dict())


def test_corrupt_images_are_replaced_in_training(tmp_path):
    report = tmp_path / "broken.txt"
    counts = Counter(flat(make_loader(12, 3, broken=[4, 5], report=report)))
    # By images about half of the set away.
    assert counts == Counter([n for n in range(12) if n not in (4, 5)] + [11, 0])
    assert read_name_list(report) == {"4", "5"}


@pytest.mark.parametrize("shuffle", [True, False])
def test_too_many_corrupt_images_raise(shuffle):
    with pytest.raises(TooManyCorrupt, match="of 9 images cannot be read"):
        flat(make_loader(9, 3, shuffle=shuffle, broken=[1, 3, 4, 5], share=0.1))
    with pytest.raises(TooManyCorrupt, match="none of the images can be read"):
        flat(make_loader(1, 3, shuffle=shuffle, broken=[0], share=0.1))
    assert flat(make_loader(1, 3, shuffle=shuffle, broken=[0], share=1.0)) == []


def test_set_receives_upcoming_indices_and_progress():
    calls = []

    class Recorder(Numbered):
        @contextmanager
        def expecting(self, coming):
            calls.append(coming().tolist())
            yield calls.append

    stopped = make_loader(12, 3, seed=5)
    expected = numbers(stopped)
    stopped_state = {**stopped.state_dict(), "epoch": 0, "position": 2}
    loader = make_loader(12, 3, seed=5, images=Recorder(12))
    loader.load_state_dict(stopped_state)
    assert numbers(loader) == expected[2:]
    assert calls == [joined(expected[2:]), 3, 6]


def test_waiting_time_is_recorded(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    read = Numbered.read

    def slow(self, index, min_side=None):
        now[0] += 2
        return read(self, index, min_side)

    monkeypatch.setattr(Numbered, "read", slow)
    loader = make_loader(10, 3)
    batches = iter(loader)
    now[0] += 50  # not waiting yet
    next(batches)
    assert (loader.asked, loader.waited) == (150, 6)
    now[0] += 20  # training
    next(batches)
    assert (loader.asked, loader.waited) == (176, 12)


def test_prefetched_batches_are_the_same():
    """Position and seed are those of the delivered batch; closing ends the thread."""

    def seen(loader):
        return [(raw.names, raw.rgb.tolist(), torch.rand(2).tolist()) for raw in loader]

    def ahead():
        return make_loader(13, 3, receive=partial(prefetched, device=torch.device("cpu")))

    whole = seen(make_loader(13, 3))
    assert seen(ahead()) == whole
    stopped, resumed = ahead(), ahead()
    batches = iter(stopped)
    next(batches), next(batches)
    assert "prefetch" in str(threading.enumerate())
    resumed.load_state_dict(stopped.state_dict())
    stopped.close()
    assert "prefetch" not in str(threading.enumerate())
    assert seen(resumed) == whole[2:]


def test_waiting_of_a_gpu_is_its_idle_time(monkeypatch):
    host = queue_ends = reached = 0.0

    class Event:
        """Is reached when the work queued before it is done."""

        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.time = max(host, queue_ends)

        def query(self):
            return self.time <= reached

        def elapsed_time(self, end):
            assert end.query()
            return 1e3 * (end.time - self.time)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    loader = make_loader(30, 3, device_type="cuda")
    batches = iter(loader)
    read = Numbered.read

    def slow(self, index, min_side=None):
        nonlocal host
        host += 2 / 3
        return read(self, index, min_side)

    monkeypatch.setattr(Numbered, "read", slow)
    next(batches)  # idle for 2 s
    queue_ends = host + 5
    next(batches)  # work is queued meanwhile
    assert len(loader._waits) == 2
    reached = host
    assert loader.waited == pytest.approx(2)
    host += 10
    queue_ends = host + 0.5
    next(batches)  # idle from the end of the queued work on
    reached = host
    assert loader.waited == pytest.approx(2 + 1.5)
    assert not loader._waits
