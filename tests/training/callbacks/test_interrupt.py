"""A signal to one of several processes stops all of them; a run gives the handlers back."""

import signal
from types import SimpleNamespace

import pytest
import torch

from lightning_colorize.training.callbacks.interrupt import GracefulStop, RunInterrupted
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


def test_ranks_synchronize_rarely(monkeypatch):
    stop = GracefulStop(None)
    process = trainer(None, 1)
    checks = []
    monkeypatch.setattr(stop, "_is_signaled", checks.append)
    for batch in range(160):
        stop.on_train_batch_end(process, None, None, None, batch)
    assert len(checks) == 10


def test_a_run_gives_the_handlers_back(command, at_batch):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def own(number, frame):
        pass

    former = [signal.signal(number, own) for number in numbers]
    during = []
    at_batch(2, lambda: during.extend(map(signal.getsignal, numbers)))
    try:
        command.fit("one", "--trainer.max_epochs", 1)
        after = [signal.getsignal(number) for number in numbers]
    finally:
        for number, handler in zip(numbers, former, strict=True):
            signal.signal(number, handler)
    assert len(during) == 3
    assert own not in during
    assert after == [own] * 3
