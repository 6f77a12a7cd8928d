"""Workers on a real PostgreSQL server, which restarts while they run."""

import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from glob import glob
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.launch import run_workers
from lightning_colorize.sweeps.queue import TrialQueue
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.storage import ConnectionLost
from lightning_colorize.sweeps.study import open_study
from lightning_colorize.sweeps.trial import Outcome
from tests.conftest import until
from tests.distributed.launchers import free_port

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(280)]

UNIFORM = {"min": 0.0, "max": 1.0}


class Server:
    """A server of its own on a free port of this machine, with a database at `url`."""

    def __init__(self, programs, folder):
        self._programs = programs
        self._folder = folder
        port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self._options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")

    def start(self):
        self._run("pg_ctl", "-l", str(self._folder / "log"), "-w", "-o", self._options, "start")

    def stop(self, how="fast"):
        self._run("pg_ctl", "-m", how, "-w", "stop")

    def ask(self, query):
        """Return a query's value, over a connection that no worker has."""
        engine = create_engine(self.url.replace("postgresql", "postgresql+psycopg"))
        with engine.connect() as connection:
            value = connection.execute(text(query)).scalar()
        engine.dispose()
        return value

    def _run(self, program, *words):
        # PostgreSQL refuses root.
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*user, str(self._programs / program), "-D", str(self._folder / "data"), *words]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run(command, check=True, timeout=60, cwd="/", **silent)


@pytest.fixture(scope="module")
def server():
    initdb = shutil.which("initdb") or max(glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if initdb is None:
        pytest.skip("needs PostgreSQL")
    pytest.importorskip("psycopg")
    # Not in pytest's folder, which no other user may enter.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    server = Server(Path(initdb).parent, folder)
    server.start()
    yield server
    server.stop("immediate")
    shutil.rmtree(folder)


def disconnect_all(server):
    server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def test_no_trial_is_lost_or_run_twice(engine, server):
    """60 trials, 2 x 2 workers of which half are killed, and a restart of the server."""
    study = engine.study(
        {"x": UNIFORM, "seconds": 0.3}, server.url, name="sixty", method="random", run_cap=60
    )
    began = time.monotonic()
    options = {"renew_every": 0.5, "stale_after": 4.0}
    groups = [
        [engine.start(study, machine=machine, **options) for _ in range(2)]
        for machine in ("one", "other")
    ]

    def kill_one_of(group):
        worker = chance.choice(group)
        until(lambda: is_busy(engine, study, worker))
        worker.end()

    chance = random.Random(7)
    events = [
        (chance.uniform(2, 10), lambda: kill_one_of(groups[0])),
        (chance.uniform(2, 10), lambda: kill_one_of(groups[1])),
        (chance.uniform(4, 8), lambda: (server.stop(), time.sleep(1), server.start())),
    ]
    for at, act in sorted(events, key=lambda event: event[0]):
        until(lambda at=at: time.monotonic() - began >= at)
        act()
    codes = [worker.wait(120) for group in groups for worker in group]
    assert sorted(codes) == [-9, -9, 0, 0]

    table = rows(open_study(server.url, "sixty"))
    assert [row.number for row in table] == list(range(60))
    assert {row.state for row in table} == {"finished"}
    assert [row.value for row in table] == [row.values["x"] for row in table]
    assert len({row.value for row in table}) == 60
    assert len(list(study.folder.glob("trial-*"))) == 60
    assert [len(engine.finishes(study, number)) for number in range(60)] == [1] * 60
    assert sum(len(engine.starts(study, number)) - 1 for number in range(60)) <= 4


def is_busy(engine, study, worker):
    last = [(engine.starts(study, n)[-1:], engine.finishes(study, n)) for n in range(60)]
    return any(start and start[0]["worker"] == worker.pid and not end for start, end in last)


def test_one_worker_at_a_time(engine, server):
    study = engine.study({"x": [1, 2]}, server.url, name="locks")
    other = open_study(server.url, "locks")
    with study.lock:
        # Each study has its own lock.
        with engine.study({"x": [1, 2]}, server.url, name="neighbor").lock:
            pass
        assert locks(server) == 1
        worker = engine.start(other)
        until(lambda: locks(server) == 2)  # one has it, one waits
        assert rows(study) == []
    assert worker.wait(60) == 0
    assert [row.state for row in rows(other)] == ["finished", "finished"]


def locks(server):
    return server.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")


def test_nothing_is_written_after_losing_the_lock(engine, server):
    study = engine.study({"x": [1, 2]}, server.url, name="lost")
    with study.lock:
        disconnect_all(server)
        # Optuna tries once more, on a new connection.
        with pytest.raises(ConnectionLost):
            study.storage.create_new_trial(study.id)
    assert rows(study) == []
    assert TrialQueue(study).take().number == 0


def test_a_call_survives_a_restart(engine, server, capsys):
    study = engine.study({"x": [1, 2]}, server.url, name="restart")
    one = TrialQueue(study)
    trial = one.take()
    server.stop()
    server.start()
    assert one.renew(trial)
    one.report(trial, 0, 1.0)
    assert one.tell(trial, Outcome("finished", 1.0))
    assert [(row.value, row.history) for row in rows(study)] == [(1.0, [1.0])]
    output = capsys.readouterr().err
    assert output.count("the study's database does not answer (") == 1


def test_workers_wait_for_a_server_that_is_away_when_they_start(engine, server, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    study = engine.study({"x": [1, 2]}, server.url, name="away")
    server.stop()
    back = threading.Timer(12, server.start)
    back.start()
    lines = []
    assert run_workers(study, 2, say=lines.append) == 0
    back.join()
    assert [row.state for row in rows(study)] == ["finished", "finished"]
    assert lines
    assert all("database does not answer (" in line for line in lines)


def test_errors_of_the_server_are_one_line(server):
    with pytest.raises(UsageError, match=r"contains no study, or is not usable: .*nobody") as error:
        open_study(server.url.replace("/postgres", "/nobody"))
    assert "\n" not in str(error.value)
    empty = server.url.replace("/postgres", "/template1")
    with pytest.raises(UsageError, match="contains no study, or is not usable"):
        open_study(empty)
