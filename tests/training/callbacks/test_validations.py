import json

import pytest

from tests.conftest import metric_rows


def test_run_ended_by_max_time_is_validated(command):
    run = command.fit(
        "timed",
        *("--trainer.max_time", "00:00:00:02", "--trainer.max_epochs", "-1"),
        *("--trainer.check_val_every_n_epoch", "100000", "--run.test", "false"),
    )
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "finished"
    assert "val/psnr" in result["metrics"]
    assert (run / result["best_checkpoint"]).is_file()


def test_run_ended_by_max_steps_in_mid_epoch_is_validated(command):
    run = command.fit("steps", "--trainer.max_steps", 5, "--trainer.max_epochs", "-1")
    validated = [int(row["step"]) for row in metric_rows(run) if row["val/psnr"]]
    # Three batches an epoch: after the first epoch, and after the last step.
    assert validated == [2, 4]


@pytest.mark.parametrize(
    ("every_n_epochs", "interval", "expected"),
    [("null", 4, [3, 5]), ("1", 2, [1, 4, 5]), ("null", "00:01:00:00", [5])],
)
def test_last_step_is_validated_at_any_interval(command, every_n_epochs, interval, expected):
    # Two epochs of three batches.
    run = command.fit(
        "interval",
        *("--trainer.check_val_every_n_epoch", every_n_epochs),
        *("--trainer.val_check_interval", interval, "--run.test", "false"),
    )
    assert [int(row["step"]) for row in metric_rows(run) if row["val/psnr"]] == expected
