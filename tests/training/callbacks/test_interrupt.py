"""A signal to one of several processes stops all of them; a run gives the handlers back."""

import signal
from types import SimpleNamespace

import pytest
import torch

from lightning_colorize.training.callbacks.stopping import GracefulStop, RunInterrupted
from tests.training.callbacks.conftest import fake_trainer


class Strategy:
    """The strategy of two processes, of which the other receives a signal."""

    root_device = torch.device("cpu")
    signaled = False

    def reduce(self, number, reduce_op):
        assert reduce_op == "max"
        return max(number, torch.tensor(int(signal.SIGTERM) if self.signaled else 0))


def trainer(validates_every, accumulate):
    return fake_trainer(
        world_size=2,
        strategy=Strategy(),
        accumulate_grad_batches=accumulate,
        val_check_batch=validates_every,
    )


@pytest.mark.parametrize(
    ("validates_every", "accumulate", "limit"),
    [(None, 1, 16), (8, 1, 17), (16, 1, 17), (48, 3, 18), (None, 7, 21), (4, 2, 18)],
)
def test_signal_to_one_rank_reaches_all_soon(validates_every, accumulate, limit):
    saved = []
    stop = GracefulStop(SimpleNamespace(save=saved.append))
    process = trainer(validates_every, accumulate)
    for batch in range(100):  # no signal
        stop.on_train_batch_end(process, None, None, None, batch)
        stop.on_train_batch_start(process, None, None, batch)
    assert not saved
    process.strategy.signaled = True
    for batch in range(100, 100 + limit):
        stop.on_train_batch_start(process, None, None, batch)
        stop.on_train_batch_end(process, None, None, None, batch)
        if saved:
            break
    assert len(saved) == 1
    with pytest.raises(RunInterrupted):
        stop.on_train_batch_start(process, None, None, batch + 1)
    assert stop.received == signal.SIGTERM
