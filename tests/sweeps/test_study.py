import shlex
import shutil
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.study import create_study, open_study

X = {"x": [1, 2]}


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_another_machine_can_open_a_study(engine, kind, monkeypatch):
    url = f"sqlite:///{engine.folder}/new/study.db" if kind == "sqlite" else None
    here = Path.cwd()
    created = engine.study(X, url, seed=7, early_terminate={"type": "hyperband", "min_iter": 1})
    monkeypatch.chdir("/")
    study = open_study(created.url)
    assert study.sweep == created.sweep
    assert study.sweep.name == "tiny"
    assert study.seed == 7
    assert study.start == here
    assert study.folder == engine.folder / "runs/tiny"
    assert study.folder_of(12) == engine.folder / "runs/tiny/trial-0012"
    assert study.inner.direction == optuna.study.StudyDirection.MAXIMIZE
    assert open_study(created.url, "tiny").sweep == created.sweep


@pytest.mark.parametrize("given", ["given.yaml", "runs/tiny/sweep.yaml"])
def test_the_sweep_file_is_copied(engine, given):
    file = engine.folder / given
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# a comment\n")
    study = create_study(engine.sweep(X), engine.folder / "runs", file=file)
    assert (study.folder / "sweep.yaml").read_text() == "# a comment\n"


@pytest.mark.parametrize("taken", [0, 1])
def test_a_folder_with_another_studys_trials_is_refused(engine, taken):
    study = engine.study(X)
    study.folder_of(taken).mkdir()
    if taken:
        TrialQueue(study).take()
    # A folder of another program.
    (study.folder / "trial-notes").mkdir()
    with pytest.raises(UsageError, match=rf"tiny contains trial-000{taken}, which .* does not"):
        engine.study(X)
    with pytest.raises(UsageError, match="move the folder"):
        engine.study({"x": [70, 80]}, f"sqlite:///{engine.folder}/other.db")
    TrialQueue(study).take()
    assert len(engine.study(X).inner.trials) == taken + 1


@pytest.mark.parametrize(
    ("name", "typed"),
    [("mine", "--name=mine"), ("-mine", "--name=-mine"), ("a b", "'--name=a b'")],
)
def test_a_command_names_the_sweep_in_a_database_and_can_be_copied(engine, name, typed):
    journal = engine.study(X, name=name)
    database = replace(journal, shown="sqlite:///a study.db")
    assert database.command("resume", "--retry-failed") == (
        f"lightning-colorize sweep resume 'sqlite:///a study.db' {typed} --retry-failed"
    )
    assert shlex.split(journal.command("stop"))[2:] == ["stop", str(journal.folder)]


def test_a_write_error_is_one_line(engine):
    study = engine.study(X)
    (study.folder / ".study.journal.lock").unlink(missing_ok=True)
    (study.folder / ".study.journal.lock").mkdir()
    for act in (study.stop, study.resume, lambda: engine.study({"x": [3]})):
        with pytest.raises(UsageError, match=r"the sweep 'tiny' is not writable: .*\.lock") as info:
            act()
        assert "\n" not in str(info.value)


def test_no_password_is_shown():
    url = "postgresql://me:secret@127.0.0.1/studies?password=secret&sslpassword=secret&a=b"
    with pytest.raises(UsageError) as error:
        open_study(url)
    assert "secret" not in str(error.value)
    assert "127.0.0.1/studies?a=b" in str(error.value)
    with pytest.raises(UsageError, match="write %40 in its password") as error:
        open_study("postgresql://me:two@parts@127.0.0.1/studies")
    assert "parts" not in str(error.value)


def test_the_same_sweep_resumes_and_a_different_one_is_refused(engine, monkeypatch):
    two = {"x": [1, 2], "y": [1, 2]}
    TrialQueue(engine.study(two)).take()
    assert len(engine.study(two).inner.trials) == 1
    for changes, different in (
        ({"parameters": {"x": [2, 1], "y": [1, 2]}}, "sweep"),
        ({"parameters": {"y": [1, 2], "x": [1, 2]}}, "sweep"),  # another order of a grid
        ({"parameters": two, "seed": 3}, "seed"),
        ({"parameters": two, "run_cap": 1, "seed": 3}, "sweep and seed"),
    ):
        with pytest.raises(UsageError, match=f"'tiny' with a different {different};") as error:
            engine.study(**changes)
        assert "\n" not in str(error.value)
    monkeypatch.chdir(engine.folder)
    with pytest.raises(UsageError, match="a different start folder;"):
        engine.study(two)


def test_a_killed_creation_is_completed(engine):
    study = engine.study(X)
    journal = study.folder / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 6  # the study, four attributes, the name of the metric
    journal.write_text("".join(lines[:2]))
    with pytest.raises(UsageError, match="contains no sweep"):
        open_study(study.url)
    assert engine.study(X).seed == 0
    assert open_study(study.url).sweep == study.sweep


def test_a_foreign_study_is_refused(engine):
    url = f"sqlite:///{engine.folder}/theirs.db"
    optuna.create_study(storage=url, study_name="tiny").set_user_attr("theirs", 1)
    with pytest.raises(UsageError, match="not a sweep"):
        engine.study(X, url)
    with pytest.raises(UsageError, match="contains no sweep;"):
        open_study(url)


def test_one_of_several_studies_needs_a_name(engine):
    url = f"sqlite:///{engine.folder}/study.db"
    for name in ("one", "two"):
        engine.study(X, url, name=name)
    with pytest.raises(UsageError, match="give --name: one, two"):
        open_study(url)
    assert open_study(url, "two").sweep.name == "two"
    with pytest.raises(UsageError, match="no sweep 'three'; known are one, two"):
        open_study(url, "three")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nowhere", "nowhere/study.journal does not exist; give a sweep's folder, sqlite:///FILE"),
        ("sqlite:///nowhere.db", "nowhere.db does not exist"),
        ("sqlite://", "sqlite:// is not a file that workers can share"),
        ("mysql://host/studies", "studies cannot be stored in mysql; give"),
        ("postgresql://host:port/studies", "the URL of the study cannot be parsed; give"),
        ("nonsense://", "studies cannot be stored in nonsense"),
    ],
)
def test_invalid_storages(url, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        open_study(url)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_fails_in_seconds():
    pytest.importorskip("psycopg")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(UsageError) as error:
            open_study(f"postgres://me:secret@127.0.0.1:{port}/studies")
    assert time.monotonic() - began < 10
    assert "refused" in str(error.value)
    assert f"me:***@127.0.0.1:{port}/studies" in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[cluster\]'"):
        open_study("postgresql://me@127.0.0.1/studies")


def test_a_partial_line_in_the_journal_is_dropped(engine):
    study = engine.study(X)
    taken = TrialQueue(study).take()
    with (study.folder / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 8, "trial_id": 0, "user_')
    other = TrialQueue(open_study(study.url))
    assert other.take().number == 1
    assert len(open_study(study.url).inner.trials) == 2
    assert TrialQueue(study).renew(taken) is False  # not its worker, but the journal is readable


def test_the_metric_is_named_in_optuna(engine):
    """optuna-dashboard calls it Objective 0 otherwise."""
    assert engine.study(X).inner.metric_names == ["val/psnr"]
    assert engine.study(X).inner.metric_names == ["val/psnr"]
    assert engine.study(X, metric=None, name="other").inner.metric_names is None


def test_optuna_is_silent(engine, capfd, recwarn):
    study = engine.study({"x": {"min": 0.0, "max": 1.0}}, method="bayes", run_cap=1)
    TrialQueue(study).take()
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "optuna" in str(warning.category)]


def test_other_files_are_refused(tmp_path):
    journal = tmp_path / "study.journal"
    for content in (b"method: grid\nmetric:\n", b"\xff\xfe<p>", b"[]\n[]\n"):
        journal.write_bytes(content)
        with pytest.raises(UsageError, match=r"not the journal of a sweep|contains no sweep"):
            open_study(str(tmp_path))
        assert journal.read_bytes() == content
    (tmp_path / "text.db").write_text("this is no database" * 100)
    with pytest.raises(UsageError, match="not a database"):
        open_study(f"sqlite:///{tmp_path}/text.db")


def test_a_moved_sweep_can_be_opened(engine, tmp_path):
    study = engine.study(X)
    moved = tmp_path / "elsewhere" / study.sweep.name
    shutil.copytree(study.folder, moved)
    assert open_study(str(moved)).folder == moved
    assert open_study(str(study.folder)).folder == study.folder
