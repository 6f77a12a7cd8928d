import threading
import time

import pytest
import torch

from lightning_colorize.data.device.decode import prefetched

CPU = torch.device("cpu")


def nothing(made, stream):
    raise AssertionError("there is no stream on a CPU")


def test_results_are_in_order_and_from_a_thread():
    threads = set()

    def work(batch):
        threads.add(threading.current_thread())
        return batch * batch

    assert list(prefetched(iter(range(5)), work, CPU, nothing)) == [0, 1, 4, 9, 16]
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert list(prefetched(iter([]), work, CPU, nothing)) == []


def test_exactly_one_batch_is_prefetched():
    begun = []
    made = prefetched(iter(range(4)), lambda batch: begun.append(batch) or batch, CPU, nothing)
    assert next(made) == 0
    deadline = time.monotonic() + 5
    while len(begun) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert begun == [0, 1]
    made.close()
    assert begun == [0, 1]


def test_error_is_raised_at_its_batch():
    def work(batch):
        if batch == 1:
            raise RuntimeError("broken")
        return batch

    made = prefetched(iter(range(3)), work, CPU, nothing)
    assert next(made) == 0
    with pytest.raises(RuntimeError, match="broken"):
        next(made)
