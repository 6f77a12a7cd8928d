"""The files of a run folder, and the names of new ones."""

import os
import time

import pytest
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs import folder as run_folder
from lightning_colorize.runs.folder import begin, new_run_folder


def test_runs_are_the_folders_two_levels_down_with_a_config_or_a_result(tmp_path):
    for name in ("b/second/config.yaml", "a/first/result.json", "a/first/deeper/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "a/empty").mkdir()
    (tmp_path / "a/file").touch()
    assert run_folder.find_runs(tmp_path) == [tmp_path / "a/first", tmp_path / "b/second"]
    with pytest.raises(UsageError, match="nowhere"):
        run_folder.find_runs(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_a_broken_config_is_named(tmp_path, text):
    assert run_folder.read_config(tmp_path) == {}
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        run_folder.read_config(tmp_path)


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / run_folder.LOCK).mkdir()
    with pytest.raises(UsageError, match="cannot be written to: Is a directory"):
        run_folder.lock(tmp_path)


def test_flatten_keeps_every_value():
    nested = {"a": {"b": {"c": [1, {"d": 2}], "e": None}, "f": {}}, "g": len, "h": False}
    assert run_folder.flatten(nested) == {
        "a.b.c": [1, {"d": 2}],
        "a.b.e": None,
        "a.f": {},
        "g": len,
        "h": False,
    }


def test_checkpoint_of_prefers_the_best(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(UsageError, match="contains neither"):
        run_folder.checkpoint_of(tmp_path)
    (folder / "last.ckpt").touch()
    assert run_folder.checkpoint_of(tmp_path) == folder / "last.ckpt"
    (folder / "best.ckpt").touch()
    assert run_folder.checkpoint_of(tmp_path) == folder / "best.ckpt"
    assert run_folder.checkpoint_of(folder / "last.ckpt") == folder / "last.ckpt"
    for name, fault in (("nowhere", "does not exist"), (300 * "x", "File name too long$")):
        with pytest.raises(UsageError, match=fault):
            run_folder.checkpoint_of(tmp_path / name)


_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
_RUN_ID = "TORCHELASTIC_RUN_ID"


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    for variable in ("SLURM_NTASKS", _AGENT_STORE, _RUN_ID):
        monkeypatch.delenv(variable, raising=False)


def test_a_run_is_in_the_folder_of_its_experiment(tmp_path):
    assert new_run_folder(tmp_path, "unet", "first") == tmp_path / "unet/first"
    unnamed = new_run_folder(tmp_path, "unet", None)
    assert unnamed.parent == tmp_path / "unet"
    assert unnamed.name.startswith(time.strftime("%Y%m%d-"))


@pytest.mark.parametrize("file", ["config.yaml", "result.json"])
def test_a_run_of_the_same_name_is_not_overwritten(tmp_path, file):
    folder = tmp_path / "unet/first"
    folder.mkdir(parents=True)
    (folder / file).touch()
    with pytest.raises(UsageError, match=r"holds a run already; .*--run\.name") as error:
        new_run_folder(tmp_path, "unet", "first")
    assert f"resume {folder}" in str(error.value)
    (tmp_path / "unet/second/images").mkdir(parents=True)
    assert new_run_folder(tmp_path, "unet", "second") == tmp_path / "unet/second"


def test_other_processes_get_the_folder_of_the_first(tmp_path, monkeypatch):
    folder = new_run_folder(tmp_path, "unet", None)
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()  # the first process may have written it by now
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(os, "getppid", os.getpid)
    assert new_run_folder(tmp_path, "unet", None) == folder


def test_a_later_launch_has_its_own_folder(tmp_path, monkeypatch):
    # A program that has trained, and then starts torchrun.
    new_run_folder(tmp_path, "unet", "first")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert new_run_folder(tmp_path, "unet", "second") == tmp_path / "unet/second"


@pytest.mark.parametrize("rank", [0, 1])
def test_tasks_of_slurm_are_named_by_their_job(tmp_path, monkeypatch, rank):
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    for variable, value in (("NTASKS", "2"), ("JOB_ID", "77")):
        monkeypatch.setenv(f"SLURM_{variable}", value)
    assert new_run_folder(tmp_path, "unet", None).name == "77"


def test_torchrun_processes_share_the_time_of_rank_zero(tmp_path, monkeypatch):
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv(_AGENT_STORE, "True")
    monkeypatch.setenv(_RUN_ID, "none")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    names = []
    for rank in (0, 1):
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        monkeypatch.setattr(run_folder, "_now", lambda rank=rank: f"time of {rank}")
        names.append(new_run_folder(tmp_path, "unet", None).name)
    assert names == ["time of 0", "time of 0"]


def test_processes_of_torchrun_that_share_no_store_need_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv(_RUN_ID, "none")
    with pytest.raises(UsageError, match=r"pass --run\.name"):
        new_run_folder(tmp_path, "unet", None)
    assert new_run_folder(tmp_path, "unet", "first").name == "first"


@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("auto_resume", [False, True])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_without_a_checkpoint_starts_over(tmp_path, monkeypatch, trial, auto_resume, resumed):
    names = {"config.yaml", "metrics.csv", "throughput.csv", "result.json", "validations.jsonl"}
    names |= {"checkpoints", "images", "tensorboard", "output.log", "stop"}
    for name in names:
        (tmp_path / name).touch() if "." in name or name == "stop" else (tmp_path / name).mkdir()
    if trial:
        monkeypatch.setenv("LIGHTNING_COLORIZE_TRIAL", str(tmp_path))
    if not (trial or auto_resume or resumed):
        with pytest.raises(UsageError, match="holds a run already"):
            begin(tmp_path, resumed, auto_resume)
        return
    begin(tmp_path, resumed, auto_resume)
    kept = names if resumed else {"output.log", "stop"}
    assert {path.name for path in tmp_path.iterdir()} == (kept if trial else kept - {"stop"})
