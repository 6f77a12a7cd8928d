import json
import os
import sqlite3
import stat
from contextlib import ExitStack, closing

import pytest

from lightning_colorize.common.errors import UsageError
from lightning_colorize.reports.perception.answers import read_answers
from lightning_colorize.reports.perception.page import STUDY, read_page
from lightning_colorize.reports.perception.store import AnswerStore
from tests.reports.perception.simulated import write_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, images=4, plans=3)
    return read_page(folder)


@pytest.fixture
def opened(page, tmp_path):
    with ExitStack() as stack:

        def call(consent=None, name="a.sqlite"):
            store = AnswerStore.serving(tmp_path / name, page, consent, "You agree?")
            return stack.enter_context(closing(store))

        yield call


def test_tokens_are_made_once_and_more_are_added(opened):
    tokens = opened().invite(2)
    assert len({*tokens}) == 2
    assert all(len(token) >= 32 for token in tokens)
    more = opened().invite(5)
    assert more[:2] == tokens
    assert opened().invite(3) == more
    store = opened()
    assert [store.rater(token).plan for token in more] == [0, 1, 2, 0, 1]
    assert len({store.rater(token).participant for token in more}) == 5
    assert store.rater(tokens[0][:-1]) is None


def test_the_file_is_private(opened, tmp_path):
    opened()
    assert stat.S_IMODE(os.stat(tmp_path / "a.sqlite").st_mode) == 0o600


def test_a_repeated_answer_changes_nothing_and_order_holds(opened):
    store = opened()
    (token,) = store.invite(1)
    who = store.rater(token).participant
    assert store.add(who, 1, "left", 500) is None
    assert store.add(who, 0, "left", 500) == 1
    assert store.add(who, 0, "right", 900) == 1
    assert store.add(who, 1, "right", 900) == 2
    assert store.add(who, 0, "right", 900) == 2
    (document,) = store.documents()
    given = [(trial["answer"], trial["milliseconds"]) for trial in document["trials"]]
    assert given == [("left", 500), ("right", 900)]
    for index in range(2, 54):
        assert store.add(who, index, "left", 500) == index + 1
    assert store.add(who, 54, "left", 500) is None
    assert opened().rater(token).answered == 54


def test_documents_are_files_of_the_page(opened, page, tmp_path):
    store = opened()
    token, _ = store.invite(2)
    who = store.rater(token).participant
    store.agree(who)
    plan = page.plans[0]
    for index, trial in enumerate(plan):
        store.add(who, index, "right" if trial.left == -2 else "left", 500)
    (document,) = store.documents()  # the other rater gave no answer
    assert token not in json.dumps(document)
    assert document["checks"] == {"passed": 6, "of": 6}
    assert document["started"] <= document["finished"]
    assert [t["image"] for t in document["trials"]] == [f"cats/{t.image}.jpg" for t in plan]
    (tmp_path / "a.json").write_text(json.dumps(document))
    answers = read_answers([tmp_path / "a.json"])
    assert [person.name for person in answers.counted] == [who]
    shown = [(trial.question, trial.left, trial.right) for trial in answers.counted[0].trials]
    names = {-1: "truth", -2: "broken"} | dict(enumerate(page.systems))
    assert shown == [(t.question, names[t.left], names[t.right]) for t in plan]


def test_consent_changes_until_somebody_agreed(opened):
    assert opened().consent == "You agree?"
    assert opened("A new text").consent == "A new text"
    store = opened()
    assert store.consent == "A new text"
    (token,) = store.invite(1)
    store.agree(store.rater(token).participant)
    assert opened("A new text").rater(token).agreed
    with pytest.raises(UsageError, match="1 raters agreed to another consent text"):
        opened("A third text")


def test_other_files_are_refused(opened, page, tmp_path):
    (tmp_path / "text.sqlite").write_text("no database" * 1000)
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("CREATE TABLE study (a)")
    for name, message in (
        ("text.sqlite", "file is not a database"),
        ("other.sqlite", "is a database, but not of a study"),
        ("text.sqlite/a.sqlite", "cannot be written"),
    ):
        with pytest.raises(UsageError, match=message):
            opened(name=name)
    with pytest.raises(UsageError, match="does not exist"):
        AnswerStore(tmp_path / "nothing.sqlite")
    opened().close()
    changed = page.model_copy(update={"page": "another"})
    with pytest.raises(UsageError, match="contains the answers to another page"):
        AnswerStore.serving(tmp_path / "a.sqlite", changed, None, "")


def _replace(old, new):
    """Return a function that changes the text of a folder's page."""

    def change(folder):
        text = (folder / STUDY).read_text()
        assert old in text
        (folder / STUDY).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / STUDY).unlink(), "No such file"),
        (lambda folder: (folder / STUDY).write_bytes(b"\xff"), "no text"),
        (lambda folder: next((folder / "study").iterdir()).unlink(), "lacks 1 images"),
        (_replace('id="study"', ""), "is not a lightning-colorize study"),
        (_replace("-2]", "-3]"), "is not a lightning-colorize study"),
        (_replace("study/0000", "../etc/0000"), "is not a lightning-colorize study"),
    ],
)
def test_damaged_pages_are_refused(tmp_path, damage, message):
    write_page(tmp_path, images=2, plans=4)
    damage(tmp_path)
    with pytest.raises(UsageError, match=message):
        read_page(tmp_path)
