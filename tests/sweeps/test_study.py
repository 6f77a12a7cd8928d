import re
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
    assert (study.sweep.name, study.seed, study.start) == ("tiny", 7, here)
    assert study.folder == engine.folder / "runs/tiny"
    assert study.folder_of(12) == study.folder / "trial-0012"
    assert study.inner.direction == optuna.study.StudyDirection.MAXIMIZE


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
    assert f"tiny contains trial-000{taken}, which" in refusal(engine.study, X)
    other = f"sqlite:///{engine.folder}/other.db"
    assert "move the folder" in refusal(engine.study, {"x": [70, 80]}, other)
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


def test_the_same_sweep_resumes_and_a_different_one_is_refused(engine, monkeypatch):
    two = {"x": [1, 2], "y": [1, 2]}
    TrialQueue(engine.study(two)).take()
    assert len(engine.study(two).inner.trials) == 1
    for changes, different in (
        ({"parameters": {"y": [1, 2], "x": [1, 2]}}, "sweep"),  # another order of a grid
        ({"parameters": two, "run_cap": 1, "seed": 3}, "sweep and seed"),
    ):
        assert f"'tiny' with a different {different};" in refusal(engine.study, **changes)
    monkeypatch.chdir(engine.folder)
    assert "a different start folder;" in refusal(engine.study, two)


def test_a_killed_creation_is_completed(engine):
    study = engine.study(X)
    journal = study.folder / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 6  # the study, four attributes, the name of the metric
    journal.write_text("".join(lines[:2]))
    assert "contains no sweep" in refusal(open_study, study.url)
    assert engine.study(X).seed == 0
    assert open_study(study.url).sweep == study.sweep


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
        ("nowhere", "nowhere/study.journal does not exist; give a sweep's folder, sqlite:///FILE"),
        ("sqlite:///nowhere.db", "nowhere.db does not exist"),
        ("sqlite://", "sqlite:// is not a file that workers can share"),
        ("mysql://host/studies", "studies cannot be stored in mysql; give"),
        ("postgresql://host:port/studies", "the URL of the study cannot be parsed; give"),
        ("nonsense://", "studies cannot be stored in nonsense"),
        ("postgresql://me:two@secret@127.0.0.1/studies", "write %40 in its password"),
        ("postgresql://me:secret@127.0.0.1:1/a?password=secret&sslpassword=secret&b=c", "1/a?b=c"),
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
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install '.[cluster]'" in refusal(open_study, "postgresql://me@127.0.0.1/studies")


def test_other_files_are_refused_and_kept(tmp_path):
    journal = tmp_path / "study.journal"
    for content in (b"method: grid\nmetric:\n", b"\xff\xfe<p>", b"[]\n[]\n"):
        journal.write_bytes(content)
        message = refusal(open_study, str(tmp_path))
        assert re.search("not the journal of a sweep|contains no sweep", message)
        assert journal.read_bytes() == content
    (tmp_path / "text.db").write_text("this is no database" * 100)
    assert "not a database" in refusal(open_study, f"sqlite:///{tmp_path}/text.db")


def test_a_write_error_is_one_line(engine):
    study = engine.study(X)
    (study.folder / ".study.journal.lock").unlink(missing_ok=True)
    (study.folder / ".study.journal.lock").mkdir()
    for act in (study.stop, study.resume, lambda: engine.study({"x": [3]})):
        assert re.search(r"the sweep 'tiny' is not writable: .*\.lock", refusal(act))


def test_one_of_several_studies_needs_a_name(engine):
    url = f"sqlite:///{engine.folder}/study.db"
    for name in ("one", "two"):
        engine.study(X, url, name=name)
    assert "give --name: one, two" in refusal(open_study, url)
    assert open_study(url, "two").sweep.name == "two"
    assert "no sweep 'three'; known are one, two" in refusal(open_study, url, "three")


def test_a_partial_line_in_the_journal_is_dropped(engine):
    study = engine.study(X)
    taken = TrialQueue(study).take()
    with (study.folder / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 8, "trial_id": 0, "user_')
    other = TrialQueue(open_study(study.url))
    assert other.take().number == 1
    assert len(open_study(study.url).inner.trials) == 2
    assert TrialQueue(study).renew(taken) is False  # not its worker, but the journal is readable


def test_optuna_is_silent_and_names_the_metric(engine, capfd, recwarn):
    """Without a name, optuna-dashboard calls it Objective 0."""
    bayes = {"method": "bayes", "run_cap": 1, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    for _ in range(2):
        study = engine.study(**bayes)
        assert study.inner.metric_names == ["val/psnr"]
    TrialQueue(study).take()
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "optuna" in str(warning.category)]


def test_a_moved_sweep_can_be_opened(engine, tmp_path):
    study = engine.study(X)
    moved = tmp_path / "elsewhere" / study.sweep.name
    shutil.copytree(study.folder, moved)
    assert open_study(str(moved)).folder == moved
    assert open_study(str(study.folder)).folder == study.folder
