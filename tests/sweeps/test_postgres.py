"""Workers on a real PostgreSQL server, which restarts while they run."""

import os
import random
import shutil
import subprocess
import tempfile
import time
from glob import glob
from pathlib import Path

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.status import rows
from lightning_colorize.sweeps.study import open_study
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


def test_no_trial_is_lost_or_run_twice(engine, server):
    """40 trials, 4 workers of which two are killed, and a restart of the server."""
    study = engine.study(
        {"x": UNIFORM, "seconds": 0.5}, server.url, name="forty", method="random", run_cap=40
    )
    workers = [engine.start(study) for _ in range(4)]
    chance = random.Random(7)

    def kill(worker):
        until(lambda: is_busy(engine, study, worker), 60)
        worker.end()

    until(lambda: len(list(study.folder.glob("trial-*"))) > 4, 60)
    kill(workers[0])
    time.sleep(chance.uniform(1, 3))
    server.stop()
    time.sleep(2)
    server.start()
    time.sleep(chance.uniform(1, 3))
    kill(workers[1])
    assert [worker.wait(200) for worker in workers] == [-9, -9, 0, 0]

    table = rows(open_study(server.url, "forty"))
    assert [row.number for row in table] == list(range(40))
    assert {row.state for row in table} == {"finished"}
    assert [row.value for row in table] == [row.values["x"] for row in table]
    assert len({row.value for row in table}) == 40
    assert [row.history for row in table] == [[row.value] for row in table]
    assert len(list(study.folder.glob("trial-*"))) == 40
    assert [len(engine.finishes(study, number)) for number in range(40)] == [1] * 40
    assert sum(len(engine.starts(study, number)) - 1 for number in range(40)) <= 6


def is_busy(engine, study, worker):
    last = [(engine.starts(study, n)[-1:], engine.finishes(study, n)) for n in range(40)]
    return any(start and start[0]["worker"] == worker.pid and not end for start, end in last)


def test_a_training_outlives_a_restart(engine, server):
    """The server is away longer than a heartbeat, and the trial is not started again."""
    study = engine.study({"x": 1, "seconds": 0.5, "epochs": 16}, server.url, name="restart")
    worker = engine.start(study)
    until(lambda: len(engine.validations(study, 0)) > 2, 60)
    server.stop("immediate")
    time.sleep(2)
    server.start()
    assert worker.wait(100) == 0
    (row,) = rows(study)
    assert row.history == pytest.approx([1 + epoch / 100 for epoch in range(16)])
    assert len(engine.starts(study, 0)) == 1


def test_workers_wait_for_a_server_that_is_away_when_they_start(engine, server, capfd):
    study = engine.study({"x": [1, 2]}, server.url, name="away")
    server.stop()
    worker = engine.start(study)
    time.sleep(5)
    server.start()
    assert worker.wait(100) == 0
    assert [row.state for row in rows(study)] == ["finished", "finished"]
    assert capfd.readouterr().err.count("the database does not answer (") == 1


def test_errors_of_the_server_are_one_line(server):
    with pytest.raises(UsageError, match=r"contains no study, or is not usable: .*nobody") as error:
        open_study(server.url.replace("/postgres", "/nobody"))
    assert "\n" not in str(error.value)
    empty = server.url.replace("/postgres", "/template1")
    with pytest.raises(UsageError, match="contains no study, or is not usable"):
        open_study(empty)
