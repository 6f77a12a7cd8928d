"""Sweeps on a real Slurm cluster of two nodes."""

import pytest

from lightning_colorize.cluster.batch import Resources
from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.result import RunResult
from lightning_colorize.sweeps import launch as launching
from lightning_colorize.sweeps.launch import WorkerOptions, run_workers, workers_of
from lightning_colorize.sweeps.spec import parse_sweep
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import create_study
from tests.conftest import read_lines
from tests.distributed.launchers import steps_of
from tests.sweeps.conftest import engine  # noqa: F401

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]

# The nodes do not define this machine's memory.
OPTIONS = {"partition": "two", "cpus": 2, "mem": "0", "time": "01:00:00"}
EPOCHS = 28  # of a tenth of a second: a requeue must come before the end


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch):
    monkeypatch.setattr(launching, "_QUERY_EVERY", 1.0)


def launch(study, workers, tick=lambda: None, **options):
    slurm = WorkerOptions(workers, slurm=Resources(**OPTIONS | options))
    jobs = workers_of(study.sweep.name, study.folder, slurm, study.url)
    return run_workers(jobs, tick, study.all_ended)


def first_job(cluster):
    return min(cluster("squeue", "--noheader", "--array", "--format=%i").split())


def test_a_trial_of_two_processes_resumes_after_a_requeue(command, cluster):
    fixed = command.words("unused", "--data.batch_size", 2, "--run.grid_images", 0)
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    epochs = ["--trainer.max_epochs", str(EPOCHS), "--run.patience", str(EPOCHS)]
    sweep = parse_sweep(
        {
            "method": "grid",
            "metric": {"name": "val/psnr", "goal": "maximize"},
            "command": ["lightning-colorize", "fit", *fixed, *two, *epochs, "${args}"],
            "parameters": {"seed_everything": {"value": 1}},
        },
        "two.yaml",
    )
    study = create_study(sweep, command.root)
    requeued = []

    def tick():
        (row,) = rows(study)
        if not requeued and row.state == "running" and len(row.history) > 1:
            requeued.append(first_job(cluster))
            cluster("scontrol", "requeue", requeued[0])

    assert launch(study, 1, tick) == 0
    (row,) = rows(study)
    print((row.folder / "output.log").read_text()[-2000:])
    assert row.state == "finished"
    result = RunResult.read(row.folder)
    # Twelve images in batches of two: three steps an epoch, if each is of two processes.
    assert (result.restarts, result.batches) == (1, 3 * EPOCHS)
    validations = read_lines(row.folder / "validations.jsonl")
    assert [line["step"] for line in validations] == list(range(3, 3 * EPOCHS + 1, 3))
    assert len(steps_of(row.folder)) == 3 * EPOCHS == len(set(steps_of(row.folder)))
    assert "Restarts=1" in cluster("scontrol", "show", "job", requeued[0])


def test_a_worker_out_of_time_is_requeued(engine, cluster, capfd):  # noqa: F811
    study = engine.study({"x": [1, 2, 3], "epochs": 80, "seconds": 0.05})
    requeued = []

    def tick():
        if not requeued and len(engine.validations(study, 0)) > 5:
            requeued.append(first_job(cluster))
            # As Slurm does some time before the limit: to the batch script alone.
            cluster("scancel", "--batch", "--signal=USR2", requeued[0])

    assert launch(study, 2, tick) == 0
    assert [row.state for row in rows(study)] == ["finished"] * 3
    assert sorted(len(engine.starts(study, number)) for number in range(3)) == [1, 1, 2]
    for number in range(3):
        epochs = [line["epoch"] for line in engine.validations(study, number)]
        assert epochs == list(range(80))
    assert "Restarts=1" in cluster("scontrol", "show", "job", requeued[0])
    assert f"job {requeued[0]}: pending (BeginTime)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "nope"}, "[Ii]nvalid partition"),
        ({"cpus": 4}, "Requested node configuration is not available"),
        ({"extra": {"gres": "nope:1"}}, "Invalid generic resource"),
    ],
)
def test_refused_options_leave_no_job(engine, cluster, options, message):  # noqa: F811
    with pytest.raises(UsageError, match=message):
        launch(engine.study({"x": 1}), 2, **options)
    assert cluster("squeue", "--noheader") == ""
