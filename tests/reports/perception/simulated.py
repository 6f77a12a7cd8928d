"""A study page of small images, a server of it, and raters whose preferences are known."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager

import numpy as np
from scipy.special import expit, logit

from lightning_colorize.reports.perception.bradley_terry import fit
from lightning_colorize.reports.perception.page import IMAGES, STUDY, study_html
from lightning_colorize.reports.perception.plan import make_plan
from lightning_colorize.reports.perception.server import CONSENT, MAX_OF_ADDRESS, StudyServer
from lightning_colorize.reports.perception.store import AnswerStore
from tests.conftest import make_image

SYSTEMS = ["cnn", "gan", "unet"]
QUALITY = {"cnn": -0.7, "gan": 0.1, "unet": 0.6}
"""Planted strength of each system for an average rater and image, in log-odds."""
FOOLING = {"cnn": 0.15, "gan": 0.3, "unet": 0.45}
"""Planted share of such a rater's pairs in which a system's image is taken for the photograph."""


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
def serving(folder, path, page, raters=2, rate=1e6, connections=MAX_OF_ADDRESS):
    """Serve a page in a thread; yields the server, its port and the tokens."""
    store = AnswerStore.serving(path, page, None, CONSENT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = StudyServer(listener, folder, store, rate, connections)
        thread = threading.Thread(target=server.serve_forever)
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


SPREAD = 0.4
"""Standard deviation, in log-odds, of what a rater or an image adds to a system."""


def planted(spread=SPREAD):
    """Return what infinitely many raters and images show: fooling rates, preferences, strengths.

    They are nearer to chance than QUALITY and FOOLING, because raters and images differ.
    """

    def average(odds, variance):
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        return weights @ expit(odds + np.sqrt(variance) * nodes) / weights.sum()

    fooling = {name: average(logit(share), 2 * spread**2) for name, share in FOOLING.items()}
    wins = np.array(
        [[average(QUALITY[a] - QUALITY[b], 4 * spread**2) for b in SYSTEMS] for a in SYSTEMS]
    )
    np.fill_diagonal(wins, 0)
    preferred = dict(zip(SYSTEMS, wins.sum(axis=1) / (len(SYSTEMS) - 1), strict=True))
    return fooling, preferred, dict(zip(SYSTEMS, fit(1e6 * wins), strict=True))


class Raters:
    """Raters who follow the planted preferences, and differ; so do the images.

    Args:
        seed: Seed of all draws.
        raters: Number of raters.
        images: Number of images.
        spread: As SPREAD.
    """

    def __init__(self, seed, raters, images, spread=SPREAD):
        random = np.random.default_rng(seed)
        shape = (len(SYSTEMS), 2)
        self.of_rater = random.normal(0, spread, (raters, *shape))
        self.of_image = random.normal(0, spread, (images, *shape))
        self.seed = seed

    def answer(self, rater, index, question, image, left, right):
        """Return the side that a rater chooses; the same for the same arguments."""
        if "broken" in (left, right):
            return "right" if left == "broken" else "left"
        random = np.random.default_rng((self.seed, rater, index))
        odds = 0.0
        for side, sign in ((left, 1), (right, -1)):
            if side != "truth":
                system = SYSTEMS.index(side)
                kind = question == "real"
                base = QUALITY[side] if not kind else logit(FOOLING[side])
                own = (
                    self.of_rater[rater, system, int(kind)]
                    + self.of_image[image, system, int(kind)]
                )
                odds += sign * (base + own)
        return "left" if random.random() < expit(odds) else "right"


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
