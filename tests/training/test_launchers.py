"""Processes that Slurm or torchrun has started, or has not."""

from contextlib import nullcontext

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.launchers import refuse_restarts_by_one_store, with_slurm

TASK = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
TASK |= {"SLURM_NODEID": "0", "SLURM_STEP_ID": "0"}
ONE = TASK | {"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
TWO = TASK | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}


@pytest.fixture
def started(monkeypatch):
    """Return a function that makes this process one that somebody started."""

    def started(variables):
        for name in {*TWO, *TORCHRUN}:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return started


def test_lightning_does_not_requeue_a_task_of_slurm(started):
    started(TWO)
    given = object()
    *kept, environment = with_slurm([given])
    assert kept == [given]
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    # Who knows better says so.
    own = [LightningEnvironment()]
    assert with_slurm(own) is own


@pytest.mark.parametrize("variables", [{}, TWO | TORCHRUN])
def test_other_processes_are_left_to_lightning(started, variables):
    started(variables)
    assert with_slurm([]) == []


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("SLURM_NTASKS_PER_NODE", "give sbatch --nodes and --ntasks-per-node rather than --ntasks"),
        ("SLURM_STEP_ID", "no process starts the others: call srun lightning-colorize fit"),
    ],
)
def test_tasks_that_nobody_starts(started, missing, says):
    started({name: value for name, value in TWO.items() if name != missing})
    with pytest.raises(UsageError, match=says):
        with_slurm([])
    # One process needs neither.
    started({name: value for name, value in ONE.items() if name != missing})
    assert with_slurm([])


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (TWO, "sbatch --nodes=1 --ntasks-per-node=1, or the Trainer the same numbers"),
        (TORCHRUN, "torchrun starts 2 processes, but --trainer.num_nodes 1 with --trainer.dev"),
    ],
)
def test_more_processes_than_the_trainer_sets(started, command, capsys, variables, says):
    started(variables)
    assert command("fit", *command.words("two", "--trainer.devices", 1)) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not list(command.root.glob("*/*"))


def test_one_task_of_slurm_trains_as_one_process_does(started, command):
    started(ONE)
    run = command.fit("one", "--trainer.max_epochs", 1, "--run.grid_images", 0)
    assert not list(run.glob("hpc_ckpt*"))


def test_batch_norm_over_processes_is_not_for_cpus(command, capsys):
    words = command.words("synced", "--config", "experiments/trainer/sync_batchnorm.yaml")
    assert command("fit", *words, "--trainer.devices", 2) == 2
    err = capsys.readouterr().err
    assert "--trainer.sync_batchnorm: true\naccepted: false; PyTorch does not support it" in err
    assert not list(command.root.glob("*/*"))


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({}, True),
        ({"TORCHELASTIC_USE_AGENT_STORE": "False"}, False),
        ({"TORCHELASTIC_MAX_RESTARTS": "0"}, False),
        ({"WORLD_SIZE": "1"}, False),
    ],
)
def test_restarts_by_a_store_that_remembers_the_dead(started, variables, refused):
    restarted = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "2"}
    started(TORCHRUN | restarted | variables)
    says = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
    with pytest.raises(UsageError, match=says) if refused else nullcontext():
        refuse_restarts_by_one_store()
