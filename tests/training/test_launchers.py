"""The processes of a run, started by Lightning, Slurm or torchrun."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import LOCK
from lightning_colorize.training.launchers import (
    SharedFolder,
    refuse_restarts_by_one_store,
    trains_in_parallel,
    with_slurm,
)

TASK = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
TASK |= {"SLURM_NODEID": "0", "SLURM_STEP_ID": "0"}
ONE = TASK | {"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
TWO = TASK | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}


@pytest.fixture
def launched_by(monkeypatch):
    """Return a function that sets the environment variables of a launcher."""

    def launched_by(variables):
        for name in {*TWO, *TORCHRUN}:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launched_by


def test_lightning_does_not_requeue_slurm_tasks(launched_by):
    launched_by(TWO)
    plugin = object()
    *others, environment = with_slurm([plugin])
    assert others == [plugin]
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    # An environment given explicitly is left alone.
    own = [LightningEnvironment()]
    assert with_slurm(own) is own


@pytest.mark.parametrize("variables", [{}, TWO | TORCHRUN])
def test_other_processes_are_left_to_lightning(launched_by, variables):
    launched_by(variables)
    assert with_slurm([]) == []


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("SLURM_NTASKS_PER_NODE", "Use `--ntasks-per-node=2` instead"),
        ("SLURM_STEP_ID", "no process starts the others: call srun lightning-colorize fit"),
    ],
)
def test_incomplete_slurm_jobs_are_refused(launched_by, missing, message):
    launched_by({name: value for name, value in TWO.items() if name != missing})
    with pytest.raises(UsageError, match=message):
        with_slurm([])
    # A single process needs neither.
    launched_by({name: value for name, value in ONE.items() if name != missing})
    assert with_slurm([])


@pytest.mark.parametrize("locked", [True, False])
def test_a_run_folder_that_is_not_shared_is_refused(tmp_path, locked):
    """A node that shares the folder sees the lock of the first process."""
    if locked:
        (tmp_path / LOCK).touch()
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision: decision)
    trainer = SimpleNamespace(num_nodes=2, strategy=strategy)
    refused = pytest.raises(UsageError, match=r"--run\.root must be a shared folder")
    with nullcontext() if locked else refused:
        SharedFolder(tmp_path).setup(trainer, None, "fit")


@pytest.mark.parametrize("variables", [TWO, TORCHRUN])
def test_more_processes_than_the_trainer_expects(launched_by, command, error_of, variables):
    launched_by(variables)
    message = "processes started: 2, but --trainer.num_nodes 1 with --trainer.devices 1 needs 1"
    assert message in error_of("fit", *command.words("two", "--trainer.devices", 1))
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
def test_torchrun_restarts_over_one_store_are_refused(launched_by, variables, refused):
    restarted = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "2"}
    launched_by(TORCHRUN | restarted | variables)
    message = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
    with pytest.raises(UsageError, match=message) if refused else nullcontext():
        refuse_restarts_by_one_store()


@pytest.mark.parametrize(
    ("devices", "nodes", "parallel"), [(1, 1, False), (2, 1, True), (1, 2, True)]
)
def test_lightning_chooses_ddp_for_several_processes(launched_by, devices, nodes, parallel):
    launched_by({})
    config = SimpleNamespace(accelerator="cpu", devices=devices, num_nodes=nodes, plugins=[])
    config.strategy = "auto"
    assert trains_in_parallel(config) == parallel
