"""A study from the links to the score, with a server that is killed."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from lightning_colorize.reports.perception.store import AnswerStore
from tests.reports.perception.simulated import SYSTEMS, Raters, planted, request, write_page

RATERS, IMAGES, TRIALS = 40, 12, 54
CARELESS = (3, 17)  # raters who choose the left image always


class Server:
    """`study serve` in a process of its own."""

    def __init__(self, *words):
        self.words = [str(word) for word in words]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.links = self.start()

    def start(self):
        """Start it, and return the links that it prints."""
        command = [sys.executable, "-m", "lightning_colorize", "study", "serve", *self.words]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdout=subprocess.PIPE, text=True
        )
        links = []
        for line in self.process.stdout:
            if line.startswith("study on "):
                return links
            links += re.findall(r"^http://127\.0\.0\.1:\d+(/t/\S+)$", line, re.MULTILINE)
        raise AssertionError("it did not start")

    def end(self, number):
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(20)


@pytest.fixture
def serve():
    """Start a server, which does not outlive the test."""
    servers = []

    def call(*words):
        servers.append(Server(*words))
        return servers[-1]

    yield call
    for server in servers:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


class Rater(threading.Thread):
    """Opens a link and answers all pairs; repeats requests until the server answers them."""

    def __init__(self, number, link, port, answer):
        super().__init__(daemon=True)
        self.number, self.link, self.port, self.choose = number, link, port, answer
        self.stored = {}  # what the server acknowledged
        self.failures = self.limited = 0

    def run(self):
        html = self._request("GET")
        study = json.loads(re.search(rb'id="study">(.*?)</script>', html, re.DOTALL)[1])
        self._request("POST", {"consent": "agreed"})
        for index, (question, _, _, left, right) in enumerate(study["plans"][0]):
            side = self.choose(self.number, index, question, left, right)
            content = {"trial": index, "answer": side, "milliseconds": 400 + index}
            assert json.loads(self._request("POST", content)) == {"answered": index + 1}
            self.stored[index] = side
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
            self.limited += status == 429
            time.sleep(0.1 if status is None else 1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_and_the_score_recovers_preferences(
    command, serve, tmp_path, capsys
):
    page, path = tmp_path / "page", tmp_path / "answers.sqlite"
    study = write_page(page, IMAGES, RATERS)
    shown = {
        f"../{file}": (index, who)
        for index, image in enumerate(study["images"])
        for file, who in zip(
            [image["truth"], image["broken"], *image["systems"]],
            ["truth", "broken", *SYSTEMS],
            strict=True,
        )
    }
    simulated = Raters(0, RATERS, IMAGES)

    def answer(rater, index, question, left, right):
        if rater in CARELESS:
            return "left"
        (image, one), (_, other) = shown[left], shown[right]
        return simulated.answer(rater, index, question, image, one, other)

    server = serve(page, "--answers", path, "--raters", RATERS, "--rate", 2000)
    assert len(server.links) == RATERS
    raters = [Rater(i, link, server.port, answer) for i, link in enumerate(server.links)]
    for rater in raters:
        rater.start()
    for share in (0.3, 0.6):
        while sum(len(rater.stored) for rater in raters) < share * RATERS * TRIALS:
            time.sleep(0.02)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        assert server.start() == server.links
    for rater in raters:
        rater.join(60)
        assert len(rater.stored) == TRIALS
    assert server.end(signal.SIGTERM) == 143
    assert sum(rater.failures for rater in raters) > 0  # the kills hit requests

    store = AnswerStore(path)
    for rater in raters:
        who = store.rater(rater.link.removeprefix("/t/")).participant
        (document,) = (each for each in store.documents() if each["participant"] == who)
        assert document["finished"] is not None
        assert dict(enumerate(t["answer"] for t in document["trials"])) == rater.stored
        assert [t["milliseconds"] for t in document["trials"]] == [400 + i for i in range(TRIALS)]
    store.close()

    assert command("study", "export", path, tmp_path / "out") == 0
    assert f"answers of {RATERS} raters, of whom {RATERS} finished" in capsys.readouterr().out
    files = sorted((tmp_path / "out").glob("*.json"))
    rates = tmp_path / "rates.json"
    assert command("study", "score", *files, "--json", rates) == 0
    scored = json.loads(rates.read_text())
    assert len(scored["participants"]) == RATERS - len(CARELESS)
    assert len(scored["left_out"]) == len(CARELESS)
    fooling, preferred, strength = planted()
    for expected, found, width in (
        (fooling, scored["rates"]["fooling"], 0.25),
        (preferred, scored["rates"]["preference"], 0.25),
        (strength, scored["strengths"], 0.8),
    ):
        for name in SYSTEMS:
            assert found[name]["low"] < expected[name] < found[name]["high"]
            assert found[name]["high"] - found[name]["low"] < width
