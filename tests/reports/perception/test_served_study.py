"""`study serve` in a process of its own, which is killed while raters answer."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from lightning_colorize.reports.perception.store import AnswerStore
from tests.conftest import until
from tests.distributed.launchers import free_port
from tests.reports.perception.simulated import request, write_page

RATERS, TRIALS = 8, 54


class Server:
    """`study serve`; `links` are those that it prints."""

    def __init__(self, *words):
        self.port = free_port()
        command = [sys.executable, "-m", "lightning_colorize", "study", "serve", *map(str, words)]
        self._words = [*command, "--port", str(self.port)]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        self.links = []
        for line in self.process.stdout:
            if line.startswith("study on "):
                return
            self.links += re.findall(r"^http://127\.0\.0\.1:\d+(/t/\S+)$", line)
        raise AssertionError("it did not start")

    def end(self, number):
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(20)


class Rater(threading.Thread):
    """Opens a link and answers all pairs; repeats requests until the server answers them."""

    def __init__(self, link, port):
        super().__init__(daemon=True)
        self.link, self.port = link, port
        self.stored = []  # what the server acknowledged
        self.failures = 0

    def run(self):
        self._request("GET")
        self._request("POST", {"consent": "agreed"})
        for index in range(TRIALS):
            side = "left" if index % 3 else "right"
            content = {"trial": index, "answer": side, "milliseconds": 400 + index}
            assert json.loads(self._request("POST", content)) == {"answered": index + 1}
            self.stored.append((side, 400 + index))
            if index % 10 == 3:  # as from a second tab, with the other answer
                other = {"left": "right", "right": "left"}[side]
                self._request("POST", content | {"answer": other})

    def _request(self, method, content=None):
        while True:
            try:
                status, _, body = request(self.port, method, self.link, content)
            except (OSError, http.client.HTTPException):  # the latter: half an answer
                status = None
            if status == 200:
                return body
            assert status in (None, 429), status
            self.failures += status is None
            time.sleep(0.1 if status is None else 1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled(command, tmp_path, capsys):
    page, path = tmp_path / "page", tmp_path / "answers.sqlite"
    write_page(page, 12, RATERS)
    server = Server(page, "--answers", path, "--raters", RATERS, "--rate", 2000)
    try:
        links = server.links
        raters = [Rater(link, server.port) for link in links]
        assert len(raters) == RATERS
        for rater in raters:
            rater.start()
        for share in (0.3, 0.6):
            most = share * RATERS * TRIALS
            until(lambda most=most: sum(len(rater.stored) for rater in raters) >= most)
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
            server.start()
            assert server.links == links
        for rater in raters:
            rater.join(60)
            assert len(rater.stored) == TRIALS
        assert server.end(signal.SIGTERM) == 143
    finally:
        server.process.kill()
    assert sum(rater.failures for rater in raters) > 0  # the kills hit requests
    store = AnswerStore(path)
    names = {store.rater(rater.link.removeprefix("/t/")).participant: rater for rater in raters}
    store.close()

    assert command("study", "export", path, tmp_path / "out") == 0
    assert f"answers of {RATERS} raters, of whom {RATERS} finished" in capsys.readouterr().out
    files = sorted((tmp_path / "out").glob("*.json"))
    for document in (json.loads(file.read_text()) for file in files):
        given = [(trial["answer"], trial["milliseconds"]) for trial in document["trials"]]
        assert given == names.pop(document["participant"]).stored
    assert not names
    rates = tmp_path / "rates.json"
    assert command("study", "score", *files, "--json", rates) in (0, 1)
    scored = json.loads(rates.read_text())
    assert len([*scored["participants"], *scored["left_out"]]) == RATERS
