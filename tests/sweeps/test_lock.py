import time

import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.sweeps import storage
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.study import open_study


def test_a_lock_that_a_stopped_process_keeps_is_not_waited_for_for_ever(
    engine, monkeypatch, capsys
):
    monkeypatch.setattr(storage, "_LOCK_TIMEOUT", 0.05)
    study = engine.study({"x": 1})
    other = open_study(study.url)
    trials = TrialQueue(other)
    trials.patience = 0.0
    began = time.monotonic()
    with study.lock:
        with pytest.raises(WorkError, match=r"another process has held .*/\.study\.journal\.lock"):
            trials.take()
        with pytest.raises(WorkError, match="if one is stopped, continue or end it"):
            other.stop()
    assert time.monotonic() - began < 4
    assert trials.take().number == 0
    assert "trying again" in capsys.readouterr().err
