import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from werkzeug.test import Client

from lightning_colorize.commands import dashboard
from lightning_colorize.sweeps.study import open_storage
from tests.conftest import until
from tests.sweeps.conftest import Engine, run_trials


@contextmanager
def _dashboard(*words):
    """The command in a process of its own, which Ctrl-C ends without a message."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_colorize", "dashboard", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == ""


def _json(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def _status(url, method="GET", **headers):
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_serves_the_runs_on_this_machine_only_until_interrupted(tmp_path):
    writer = EventFileWriter(str(tmp_path / "experiment" / "run" / "tensorboard"))
    value = Summary.Value(tag="val/psnr", simple_value=22.0)
    writer.add_event(Event(step=1, summary=Summary(value=[value])))
    writer.close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with _dashboard("--root", tmp_path, "--port", port) as process:
            assert process.stdout.readline() == f"port {port} is taken\n"
            url = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
            assert url is not None
            assert int(url[1]) != port
            runs = f"{url[0]}data/runs"
            # TensorBoard reads the folder after it has begun to answer.
            until(lambda: _json(runs) == ["experiment/run/tensorboard"])
            # As a browser sends the name of a site that resolves to this machine.
            assert _status(runs, Host=f"localhost:{url[1]}") == 200
            assert _status(runs, Host=f"elsewhere.example:{url[1]}") == 403


def test_a_request_that_fails_is_one_line(capsys):
    client = Client(dashboard._guarded(lambda environ, start: 1 // 0))
    assert client.get("/x%0A").status_code == 500
    assert capsys.readouterr().err.startswith("'/x\\n' failed: ZeroDivisionError: ")


def _study(folder):
    study = Engine(folder).study({"x": [1, 2]})
    run_trials(study, 23.0)
    return study.url


@pytest.mark.slow
def test_serves_a_study_until_interrupted(tmp_path):
    study = _study(tmp_path)
    with _dashboard("--study", study, "--port", 0) as process:
        line = process.stdout.readline()
        url = re.search(r"optuna-dashboard on \S+: (http://127\.0\.0\.1:\d+/)dashboard/(\S+)", line)
        assert url is not None
        study = f"{url[1]}api/{url[2]}"
        assert _status(study, Host="elsewhere.example") == 403
        assert _json(study)["trials"][0]["values"] == [23.0]
        assert _status(study, method="DELETE") == 405


def test_a_password_is_not_shown(tmp_path, monkeypatch, capsys):
    opened = open_storage(_study(tmp_path), create=False)
    secret, opened.shown = (f"postgresql://me:{word}@host/studies" for word in ("secret", "***"))
    monkeypatch.setattr("lightning_colorize.sweeps.study.open_storage", lambda *_, **__: opened)
    monkeypatch.setattr("werkzeug.serving.BaseWSGIServer.serve_forever", lambda server: None)
    # Takes seconds to import.
    fake = SimpleNamespace(wsgi=lambda storage: None)
    monkeypatch.setitem(sys.modules, "optuna_dashboard", fake)
    dashboard._serve_study(secret, 0)
    output = capsys.readouterr().out
    assert output.startswith(f"optuna-dashboard on {opened.shown}: http://127.0.0.1:")
    assert "secret" not in output
