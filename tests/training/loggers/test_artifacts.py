"""Checkpoints as W&B artifacts: W&B's own client, and a server on the loopback address."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs import artifacts, resuming
from lightning_colorize.runs.folder import checkpoint_of
from lightning_colorize.runs.result import RunResult
from lightning_colorize.runs.resuming import download_run
from tests.conftest import metric_rows
from tests.wandb_server import WandbServer, stop_service

pytest.importorskip("wandb")


@pytest.fixture
def log_in(monkeypatch, tmp_path):
    """Return a function that makes W&B use a server."""

    def use(url, key="0" * 40):
        stop_service()  # W&B reads the environment once
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
        if key:
            monkeypatch.setenv("WANDB_API_KEY", key)

    yield use
    stop_service()


@pytest.mark.slow
def test_run_is_evaluated_and_resumed_from_its_artifacts(
    command, log_in, monkeypatch, tmp_path, capsys
):
    (tmp_path / "elsewhere").mkdir()
    with WandbServer() as server:
        log_in(server.url)
        online = ("--run.loggers.wandb", "online", "--run.loggers.wandb_id", "abc")
        more = ("--run.loggers.log_model", "true", "--trainer.max_epochs", 1)
        run = command.fit("a", *online, *more)
        by_alias = {alias: server.find(f"model-abc:{alias}") for alias in ("best", "last")}
        for alias, (_, kept) in by_alias.items():
            uploaded = server.blobs[kept["files"]["model.ckpt"]]
            assert uploaded == (run / f"checkpoints/{alias}.ckpt").read_bytes()
        assert server.find("model-abc:latest") == by_alias["best"]

        monkeypatch.chdir(tmp_path)
        best, last = "wandb:lab/color/model-abc:best", "wandb:lab/color/model-abc:last"
        assert command("evaluate", best, "--data", command.photos, "--json", "numbers.json") == 0
        evaluated = json.loads(Path("numbers.json").read_text())["metrics"]["model"]["psnr"]
        assert evaluated == pytest.approx(RunResult.read(run).metrics["test/psnr"], rel=1e-4)

        monkeypatch.chdir(tmp_path / "elsewhere")
        more = ("--trainer.max_epochs", 2, "--run.test", "false")
        assert command("resume", last, *more) == 0
        moved = Path("runs/tiny/a")
        assert RunResult.read(moved).epochs == 2
        assert (moved / "wandb/id").read_text() == "abc\n"
        assert command("resume", run, *more, "--run.loggers.wandb", "disabled") == 0
        assert metric_rows(moved) == metric_rows(run)
        capsys.readouterr()
        for artifact, fault in (
            ("lab/color/model-abc:last", "runs/tiny/a exists"),
            ("lab/color/model-abc:best", "resume needs an artifact of a run"),
            ("lab/color/model-abc:v9", "'model-abc:v9' not found in 'lab/color'"),
        ):
            assert command("resume", f"wandb:{artifact}") == 2
            err = capsys.readouterr().err
            assert fault in err
            assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "key", "fault"),
    [
        ("wandb:model-abc:best", "", "give wandb:ENTITY/PROJECT/ARTIFACT:ALIAS"),
        ("wandb:lab/color/model-abc:best", "", "wandb login"),
        ("wandb:lab/color/model-abc:best", "0" * 40, "127.0.0.1:9"),
    ],
)
def test_artifact_that_cannot_be_downloaded(log_in, monkeypatch, name, key, fault):
    monkeypatch.setattr(artifacts, "_TIMEOUT", 1)
    log_in("http://127.0.0.1:9", key)
    with pytest.raises(UsageError, match=f"{name} cannot be downloaded: .*{fault}"):
        checkpoint_of(Path(name))


@pytest.fixture
def stored(monkeypatch):
    """Return a function that makes an artifact of a run the only one, with this metadata."""

    def store(run):
        def download(root, **_):
            for name in ("model.ckpt", "checkpoints/best.ckpt", "wandb/id"):
                Path(root, name).parent.mkdir(parents=True, exist_ok=True)
                Path(root, name).write_text(name)

        manifest = SimpleNamespace(entries={"model.ckpt", "wandb/id"})
        artifact = SimpleNamespace(metadata={"run": run}, manifest=manifest, download=download)
        monkeypatch.setattr(resuming, "find_artifact", lambda path: artifact)

    return store


def test_run_is_downloaded_once(stored, tmp_path):
    stored("tiny/a")
    folder = download_run(Path("wandb:lab/color/x:last"), tmp_path)
    assert folder == tmp_path / "tiny" / "a"
    names = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "wandb/id")
    assert [(folder / name).read_text() for name in names] == [names[0], "model.ckpt", names[2]]
    assert not list(folder.parent.glob(".*"))
    with pytest.raises(UsageError, match="exists; resume it, or move it away"):
        download_run(Path("wandb:lab/color/x:last"), tmp_path)


@pytest.mark.parametrize("run", [None, "a", "../a", "/a", "a/b/c"])
def test_artifact_writes_only_below_the_runs(stored, tmp_path, run):
    stored(run)
    with pytest.raises(UsageError, match="resume needs an artifact of a run"):
        download_run(Path("wandb:lab/color/x:last"), tmp_path / "runs")
    assert not list(tmp_path.iterdir())
