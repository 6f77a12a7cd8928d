import threading
import time

import pytest
import torch

from lightning_colorize.data.device.prefetch import ahead

CPU = torch.device("cpu")


def nothing(made, stream):
    raise AssertionError("there is no stream on a CPU")


def test_what_is_made_comes_in_order_and_by_a_thread():
    threads = set()

    def work(batch):
        threads.add(threading.current_thread())
        return batch * batch

    assert list(ahead(iter(range(5)), work, CPU, nothing)) == [0, 1, 4, 9, 16]
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert list(ahead(iter([]), work, CPU, nothing)) == []


def test_the_next_one_is_made_while_the_last_is_used_and_no_more():
    begun = []
    made = ahead(iter(range(4)), lambda batch: begun.append(batch) or batch, CPU, nothing)
    assert next(made) == 0
    deadline = time.monotonic() + 5
    while len(begun) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert begun == [0, 1]
    made.close()
    assert begun == [0, 1]


def test_an_error_is_raised_where_its_batch_would_come():
    def work(batch):
        if batch == 1:
            raise RuntimeError("broken")
        return batch

    made = ahead(iter(range(3)), work, CPU, nothing)
    assert next(made) == 0
    with pytest.raises(RuntimeError, match="broken"):
        next(made)
