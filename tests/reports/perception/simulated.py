"""A study page of small images, and files of answers."""

import json

from lightning_colorize.reports.perception.study import IMAGES, STUDY, make_plan, study_html
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
