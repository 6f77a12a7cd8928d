"""Studies: created once, opened anywhere, refused in one line."""

import os
import shlex
import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import create_study, open_study
from tests.sweeps.conftest import run_trials

X = {"x": [1, 2]}


@pytest.mark.parametrize("is_folder", [True, False])
def test_another_machine_can_open_a_study(engine, is_folder, monkeypatch):
    url = None if is_folder else f"sqlite:///{engine.folder}/new/study.db"
    here = Path.cwd()
    created = engine.study(X, url, seed=7, early_terminate={"type": "hyperband", "min_iter": 1})
    monkeypatch.chdir("/")
    study = open_study(created.url)
    assert study.sweep == created.sweep
    assert (study.sweep.name, study.seed, study.start) == ("tiny", 7, here)
    assert study.folder == engine.folder / "runs/tiny"
    assert study.folder_of(12) == study.folder / "trial-0012"
    assert study.optuna.direction == optuna.study.StudyDirection.MAXIMIZE
    # Without a name, optuna-dashboard calls it Objective 0.
    assert study.optuna.metric_names == ["val/psnr"]


@pytest.mark.parametrize("given", ["given.yaml", "runs/tiny/sweep.yaml"])
def test_the_sweep_file_is_copied(engine, given):
    file = engine.folder / given
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# a comment\n")
    study = create_study(engine.sweep(X), engine.folder / "runs", file=file)
    said, *rest = (study.folder / "sweep.yaml").read_text().splitlines()
    assert "ignores edits" in said
    assert rest == ["# a comment"]


def test_random_draws_are_those_of_the_seed(engine):
    def drawn(name, seed):
        parameters = {"x": {"min": 0.0, "max": 1.0}, "y": ["a", "b"], "z": 3}
        study = engine.study(parameters, name=name, seed=seed, method="random", run_cap=3)
        run_trials(study, *[1.0] * 3)
        return [row.values for row in rows(study)]

    first = drawn("first", 1)
    assert len({values["x"] for values in first}) == 3
    assert drawn("second", 1) == first
    assert drawn("third", 2) != first


def test_a_folder_with_another_studys_trials_is_refused(engine):
    folder = engine.folder / "runs/tiny/trial-0001"
    folder.mkdir(parents=True)
    assert "tiny contains trial-0001, which" in refusal(engine.study, X)
    folder.rename(folder.with_name("trial-notes"))
    assert len(engine.study(X).optuna.trials) == 2


@pytest.mark.parametrize(
    ("name", "typed"), [("mine", "--name=mine"), ("-mine", "--name=-mine"), ("a b", "'--name=a b'")]
)
def test_a_command_names_the_sweep_in_a_database_and_can_be_copied(engine, name, typed):
    study = engine.study(X, name=name)
    database = replace(study, shown="sqlite:///a study.db")
    assert database.command("resume", "--retry-failed") == (
        f"lightning-colorize sweep resume 'sqlite:///a study.db' {typed} --retry-failed"
    )
    assert shlex.split(study.command("stop"))[2:] == ["stop", str(study.folder)]


def test_the_same_sweep_resumes_and_a_different_one_is_refused(engine, monkeypatch):
    two = {"x": [1, 2], "y": [1, 2]}
    run_trials(engine.study(two), 1.0)
    here = Path.cwd()
    assert len(engine.study(two).optuna.trials) == 4
    for changes, different in (
        ({"parameters": {"y": [1, 2], "x": [1, 2]}}, "order of parameters"),  # another grid
        (
            {"parameters": two, "run_cap": 1, "seed": 3},
            "seed: 3 instead of 0, sweep.run_cap: 1 instead of null",
        ),
        (
            {"parameters": {"x": [1, 2, 3], "y": [1, 2]}},
            "sweep.parameters.x.values: [1, 2, 3] instead of [1, 2]",
        ),
    ):
        assert f"'tiny' with other settings: {different};" in refusal(engine.study, **changes)
    monkeypatch.chdir(engine.folder)
    assert f'settings: start folder: "{engine.folder}" instead of "{here}"' in refusal(
        engine.study, two
    )


def test_a_killed_creation_is_completed(engine, monkeypatch):
    enqueue, calls = optuna.Study.enqueue_trial, []

    def killed(study, *words):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(words)
        enqueue(study, *words)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.study({"x": list(range(9))})
    study = engine.study({"x": list(range(9))})
    assert [row.values["x"] for row in rows(study)] == list(range(9))


def test_a_foreign_study_is_refused(engine):
    url = f"sqlite:///{engine.folder}/theirs.db"
    optuna.create_study(storage=url, study_name="tiny").set_user_attr("theirs", 1)
    assert "not a sweep" in refusal(engine.study, X, url)
    assert "contains no sweep;" in refusal(open_study, url)


def refusal(act, *words, **options):
    """Return the message of a refusal, which is one line without a password."""
    with pytest.raises(UsageError) as error:
        act(*words, **options)
    message = str(error.value)
    assert "\n" not in message
    assert "secret" not in message
    return message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nowhere", "nowhere/study.db does not exist; give a sweep's folder, sqlite:///FILE"),
        ("sqlite:///nowhere.db", "nowhere.db does not exist"),
        ("sqlite://", "studies cannot be stored in sqlite like this"),
        ("mysql://host/studies", "studies cannot be stored in mysql"),
        ("postgresql://host:port/studies", "the URL of the study cannot be parsed; give"),
        ("nonsense://", "studies cannot be stored in nonsense"),
        ("postgresql://me:two@secret@127.0.0.1/studies", "write %40 in its password"),
        ("postgresql://me:secret@127.0.0.1:1/a?password=secret&connect_timeout=1", "127.0.0.1:1/a"),
    ],
)
def test_invalid_storages(url, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(open_study, url)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_fails_in_seconds_and_a_missing_driver_without_a_call(monkeypatch):
    pytest.importorskip("psycopg")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        port = silent.getsockname()[1]
        began = time.monotonic()
        message = refusal(open_study, f"postgres://me:secret@127.0.0.1:{port}/studies")
    assert time.monotonic() - began < 10
    assert "refused" in message
    assert f"me:***@127.0.0.1:{port}/studies" in message


def test_other_files_are_refused_and_kept(tmp_path):
    (tmp_path / "text.db").write_text("this is no database" * 100)
    assert "not a database" in refusal(open_study, f"sqlite:///{tmp_path}/text.db")
    assert (tmp_path / "text.db").read_text() == "this is no database" * 100


def test_a_write_error_is_one_line(engine):
    (engine.folder / "runs").touch()
    assert "the sweep 'tiny' is not writable: " in refusal(engine.study, X)


def test_a_group_can_share_a_folder_and_others_are_told_how(engine, permissions):
    before = os.umask(0o002)
    study = engine.study(X)
    os.umask(before)
    file = study.folder / "study.db"
    assert file.stat().st_mode & 0o777 == 0o664
    study.require_writable()
    file.chmod(0o444)
    for act in (study.require_writable, lambda: open_study(str(study.folder)).stop("now")):
        assert "its owner runs chmod -R g+rwX FOLDER, and umask 002" in refusal(act)


def test_one_of_several_studies_needs_a_name(engine):
    url = f"sqlite:///{engine.folder}/study.db"
    for name in ("one", "two"):
        engine.study(X, url, name=name)
    assert "give --name: one, two" in refusal(open_study, url)
    assert open_study(url, "two").sweep.name == "two"
    assert "no sweep 'three'; known are one, two" in refusal(open_study, url, "three")


def test_a_moved_sweep_can_be_opened(engine, tmp_path):
    study = engine.study(X)
    moved = tmp_path / "elsewhere" / study.sweep.name
    shutil.copytree(study.folder, moved)
    assert open_study(str(moved)).folder == moved
    assert open_study(str(study.folder)).folder == study.folder
    (tmp_path / "runs here").mkdir()
    for name, target in ((study.sweep.name, moved), ("other", study.folder)):
        link = tmp_path / "runs here" / name
        link.symlink_to(target)
        assert open_study(str(link)).folder.samefile(target)
    renamed = moved.rename(moved.with_name("other"))
    assert f"contains the sweep '{study.sweep.name}'; give" in refusal(open_study, str(renamed))


def test_optuna_is_silent(engine, capfd):
    study = engine.study({"x": {"min": 0.0, "max": 1.0}}, method="bayes", run_cap=2)
    engine.work(study)
    assert capfd.readouterr() == ("", "")
