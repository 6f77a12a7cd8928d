import time

import pytest

from lightning_colorize.common.errors import WorkError
from lightning_colorize.sweeps import lock
from lightning_colorize.sweeps.study import open_study
from lightning_colorize.sweeps.trials import Trials


def test_a_lock_that_a_stopped_process_keeps_is_not_waited_for_for_ever(
    engine, monkeypatch, capsys
):
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    study = engine.study({"x": 1})
    other = open_study(study.address)
    trials = Trials(other)
    trials.patience = 0.0
    began = time.monotonic()
    with study.lock:
        with pytest.raises(WorkError, match=r"another process has .*/\.study\.journal\.lock"):
            trials.take()
        with pytest.raises(WorkError, match="if one is stopped, continue or end it"):
            other.stop()
    assert time.monotonic() - began < 4
    assert trials.take().number == 0
    assert "trying again" in capsys.readouterr().err
