"""A study page of small images, a server of it, and files of answers."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager

from lightning_colorize.reports.perception.page import IMAGES, STUDY, study_html
from lightning_colorize.reports.perception.plan import make_plan
from lightning_colorize.reports.perception.server import CONSENT, StudyServer
from lightning_colorize.reports.perception.store import AnswerStore
from tests.conftest import make_image

SYSTEMS = ["cnn", "gan", "unet"]


def write_page(folder, images=12, plans=40, systems=SYSTEMS, name="cats/{}.jpg", seed=0):
    """Write a study page, and return what it contains."""
    (folder / IMAGES).mkdir(parents=True)
    described = []
    for i in range(images):
        files = []
        for j in range(len(systems) + 2):
            files.append(f"{IMAGES}/{seed + i * 100 + j:024x}.jpg")
            make_image(i, 24, 20).save(folder / files[-1])
        image = {"name": name.format(i), "category": "cats", "truth": files[0], "broken": files[1]}
        described.append(image | {"systems": files[2:]})
    study = {
        "format": "lightning-colorize study",
        "version": 1,
        "systems": systems,
        "questions": ["real", "better"],
        "images": described,
        "plans": [
            make_plan(len(systems), ["cats"] * images, ["real", "better"], seed + i)
            for i in range(plans)
        ],
        "page": f"page{seed}",
    }
    (folder / STUDY).write_text(study_html(study))
    return study


@contextmanager
def serving(folder, path, page, raters=2, rate=1e6, hosts=("*",)):
    """Serve a page in a thread; yields the server, its port and the tokens."""
    store = AnswerStore.serving(path, page, None, CONSENT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = StudyServer(folder, store, rate, hosts)
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        try:
            yield server, port, store.invite(raters)
        finally:
            server.should_exit = True
            thread.join()
            store.close()


def request(port, method, path, body=None, **headers):
    """Send one request; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        if isinstance(body, dict):
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(None if body is None else body.encode())
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def answered(question, left, right, answer, category="cats", check=False):
    """Return a trial as the page writes it."""
    return {
        "question": question, "check": check, "image": f"{category}/a.jpg", "milliseconds": 900,
        "category": category, "left": left, "right": right, "answer": answer,
    }  # fmt: skip


CHECKS = [answered("real", "truth", "broken", "left", check=True)] * 5


def write_answers(path, trials=CHECKS, participant="p1", page="x", **changes):
    """Write the file of a participant."""
    data = {
        "format": "lightning-colorize study", "version": 1, "page": page, "systems": ["cnn", "gan"],
        "participant": participant, "trials": trials,
    }  # fmt: skip
    path.write_text(json.dumps(data | changes))
    return path
