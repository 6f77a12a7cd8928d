import json
import socket
import sys
import time

import optuna
import pytest

from lightning_colorize.errors import UsageError
from lightning_colorize.search.study import create_study, open_study
from lightning_colorize.search.trials import Trials

X = {"x": [1, 2]}


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_says_all_that_another_machine_needs(engine, kind, monkeypatch):
    url = f"sqlite:///{engine.folder}/new/study.db" if kind == "sqlite" else None
    made = engine.study(X, url, seed=7, early_terminate={"type": "hyperband", "min_iter": 1})
    monkeypatch.chdir("/")
    study = open_study(made.address)
    assert study.sweep == made.sweep
    assert study.sweep.name == "tiny"
    assert study.seed == 7
    assert study.folder == engine.folder / "runs/tiny"
    assert study.folder_of(12) == engine.folder / "runs/tiny/trial-0012"
    assert study.inner.direction == optuna.study.StudyDirection.MAXIMIZE
    assert open_study(made.address, "tiny").sweep == made.sweep
    if kind == "journal":
        assert open_study(str(made.folder / "study.journal")).sweep == made.sweep


def test_a_copy_of_the_sweep_file_is_kept(engine):
    file = engine.folder / "given.yaml"
    file.write_text("# a comment\n")
    study = create_study(engine.sweep(X), engine.folder / "runs", file=file)
    assert (study.folder / "sweep.yaml").read_text() == "# a comment\n"


def test_the_same_sweep_goes_on_a_different_one_is_refused(engine):
    Trials(engine.study(X)).take()
    assert len(engine.study(X).inner.trials) == 1
    for changes, different in (
        ({"parameters": {"x": [2, 1]}}, "sweep"),
        ({"parameters": X, "seed": 3}, "seed"),
        ({"parameters": X, "run_cap": 1, "seed": 3}, "sweep and seed"),
    ):
        with pytest.raises(UsageError, match=f"a sweep 'tiny' with another {different};") as said:
            engine.study(**changes)
        assert "\n" not in str(said.value)


def test_the_order_of_parameters_is_part_of_a_sweep(engine):
    source = json.dumps(engine.source({"x": [1, 2], "y": [1, 2]}))
    engine.study({"x": [1, 2], "y": [1, 2]})
    engine.study({"x": [1, 2], "y": [1, 2]})
    assert json.dumps(engine.source({"y": [1, 2], "x": [1, 2]})) != source
    with pytest.raises(UsageError, match="another sweep"):
        engine.study({"y": [1, 2], "x": [1, 2]})


def test_a_creation_that_was_killed_half_way_is_finished(engine):
    study = engine.study(X)
    journal = study.folder / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 4  # the study, and three attributes
    journal.write_text("".join(lines[:2]))
    with pytest.raises(UsageError, match="holds no sweep"):
        open_study(study.address)
    assert engine.study(X).seed == 0
    assert open_study(study.address).sweep == study.sweep


def test_somebody_elses_study_is_left_alone(engine):
    url = f"sqlite:///{engine.folder}/theirs.db"
    optuna.create_study(storage=url, study_name="tiny").set_user_attr("theirs", 1)
    with pytest.raises(UsageError, match="no sweep's"):
        engine.study(X, url)
    with pytest.raises(UsageError, match="holds no sweep;"):
        open_study(url)


def test_of_several_studies_one_is_named(engine):
    url = f"sqlite:///{engine.folder}/study.db"
    for name in ("one", "two"):
        engine.study(X, url, name=name)
    with pytest.raises(UsageError, match="give --name: one, two"):
        open_study(url)
    assert open_study(url, "two").sweep.name == "two"
    with pytest.raises(UsageError, match="no sweep 'three'; there are one, two"):
        open_study(url, "three")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere", "nowhere/study.journal does not exist; give a sweep's folder, sqlite:///FILE"),
        ("sqlite:///nowhere.db", "nowhere.db does not exist"),
        ("sqlite://", "sqlite:// is no file that workers could share"),
        ("mysql://host/studies", "a study is not kept in mysql; give"),
        ("postgresql://host:port/studies", "the URL of the study cannot be read; give"),
        ("nonsense://", "a study is not kept in nonsense"),
    ],
)
def test_places_that_there_are_not(address, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        open_study(address)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "text.db").write_text("this is no database" * 100)
    with pytest.raises(UsageError, match="not a database"):
        open_study(f"sqlite:///{tmp_path}/text.db")


def test_an_unreachable_server_is_said_in_seconds_and_without_the_password():
    pytest.importorskip("psycopg")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
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
    with pytest.raises(UsageError, match=r"pip install 'lightning-colorize\[cluster\]'"):
        open_study("postgresql://me@127.0.0.1/studies")


def test_half_a_line_that_a_killed_worker_wrote_into_the_journal_is_dropped(engine):
    study = engine.study(X)
    taken = Trials(study).take()
    with (study.folder / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 8, "trial_id": 0, "user_')
    other = Trials(open_study(study.address))
    assert other.take().number == 1
    assert len(open_study(study.address).inner.trials) == 2
    assert Trials(study).renew(taken) is False  # another worker's name; but it is read


def test_optuna_is_silent(engine, capfd, recwarn):
    study = engine.study({"x": {"min": 0.0, "max": 1.0}}, method="bayes", run_cap=1)
    Trials(study).take()
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "optuna" in str(warning.category)]
