"""The SQLite file of a served study: raters with secret links, and their answers."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.reports.perception.answers import FORMAT, VERSION
from lightning_colorize.reports.perception.page import StudyPage

_APPLICATION = 0x4C435354  # of SQLite's header, so that other databases are recognized
_TOKEN_BYTES = 24
_TABLES = f"""
CREATE TABLE study (page TEXT NOT NULL, consent TEXT NOT NULL);
CREATE TABLE raters (
    token TEXT PRIMARY KEY, participant TEXT NOT NULL UNIQUE, plan INTEGER NOT NULL, agreed TEXT
);
CREATE TABLE answers (
    participant TEXT NOT NULL REFERENCES raters (participant), trial INTEGER NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN ('left', 'right')),
    milliseconds INTEGER NOT NULL, stored TEXT NOT NULL,
    PRIMARY KEY (participant, trial)
);
PRAGMA application_id = {_APPLICATION};
"""
_RATER = (
    "SELECT participant, plan, agreed IS NOT NULL, (SELECT count(*) FROM answers "
    "WHERE answers.participant = raters.participant) FROM raters WHERE"
)


@dataclass(frozen=True)
class Rater:
    """A person with a link."""

    participant: str  # Random id, which files of answers contain in place of the token.
    plan: int
    agreed: bool  # Whether the person agreed to the consent text.
    answered: int  # Number of trials answered, from the start of the plan.


class AnswerStore:
    """The SQLite file of a study; safe to use from several threads and processes.

    When a method returns, its change is on disk: neither a killed process nor a power failure loses
    an answer. `page` and `consent` belong to the study.
    """

    page: StudyPage
    consent: str

    def __init__(self, path: Path) -> None:
        """Open an existing file."""
        self._lock = Lock()
        if not path.is_file():
            raise UsageError(f"{path} does not exist; study serve --answers {path} creates it")
        # Transactions are explicit; the lock keeps threads apart.
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            if application != _APPLICATION:
                raise ValueError("it is a database, but not of a study")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            page, self.consent = self._connection.execute("SELECT * FROM study").fetchone()
            self.page = StudyPage.model_validate_json(page)
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise UsageError(
                f"{path} cannot be read as answers of a study: {first_line(error)}"
            ) from None

    @classmethod
    def serving(cls, path: Path, page: StudyPage, consent: str | None, default: str) -> Self:
        """Open the file of a page's study; create it if there is none.

        Only its owner can read the file: it contains the links. If `consent` is None, the file
        keeps its text, and a new file has the `default`.

        Raises:
            UsageError: If the file belongs to another page, or raters agreed to another text.
        """
        if not path.exists() or path.stat().st_size == 0:
            _create(path, page, default if consent is None else consent)
        store = cls(path)
        try:
            if store.page.page != page.page:
                raise UsageError(f"{path} contains the answers to another page; give another file")
            if consent is not None and consent != store.consent:
                store._replace_consent(consent)
        except UsageError:
            store.close()
            raise
        return store

    def _replace_consent(self, text: str) -> None:
        with self._transaction() as connection:
            (agreed,) = connection.execute("SELECT count(agreed) FROM raters").fetchone()
            if agreed:
                raise UsageError(
                    f"{agreed} raters agreed to another consent text; give another file to "
                    "--answers for a study with a new text"
                )
            connection.execute("UPDATE study SET consent = ?", (text,))
        self.consent = text

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def invite(self, raters: int) -> list[str]:
        """Add raters until there are so many; return the tokens of all, oldest first."""
        with self._transaction() as connection:
            (count,) = connection.execute("SELECT count(*) FROM raters").fetchone()
            connection.executemany(
                "INSERT INTO raters VALUES (?, ?, ?, NULL)",
                [
                    (secrets.token_urlsafe(_TOKEN_BYTES), secrets.token_hex(8), i)
                    for i in (number % len(self.page.plans) for number in range(count, raters))
                ],
            )
            rows = connection.execute("SELECT token FROM raters ORDER BY rowid").fetchall()
        return [token for (token,) in rows]

    def rater(self, token: str) -> Rater | None:
        """Return the rater of a token; None if it is unknown."""
        with self._lock:
            row = self._connection.execute(f"{_RATER} token = ?", (token,)).fetchone()
        return row and Rater(row[0], row[1], bool(row[2]), row[3])

    def agree(self, participant: str) -> None:
        """Store that a rater agreed to the consent text; the first time counts."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE raters SET agreed = coalesce(agreed, ?) WHERE participant = ?",
                (_now(), participant),
            )

    def add(
        self, participant: str, trial: int, answer: Literal["left", "right"], milliseconds: int
    ) -> int | None:
        """Store an answer; one that is stored already stays as it is.

        `trial` is the index in the rater's plan; answers come in this order.

        Returns:
            Number of the rater's answers; None if an earlier trial has no answer, or the plan is
            shorter.
        """
        with self._transaction() as connection:
            found = connection.execute(f"{_RATER} participant = ?", (participant,))
            _, plan, _, count = found.fetchone()
            if trial > count or trial >= len(self.page.plans[plan]):
                return None
            if trial < count:
                return int(count)
            row = (participant, trial, answer, milliseconds, _now())
            connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", row)
            return trial + 1

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the answers of each rater who gave any, in the form that the page saves."""
        query = (
            "SELECT participant, plan, agreed, trial, answer, milliseconds, stored "
            "FROM raters JOIN answers USING (participant) ORDER BY raters.rowid, trial"
        )
        with self._lock:
            rows = self._connection.execute(query).fetchall()
        for (participant, plan, agreed), group in groupby(rows, key=itemgetter(0, 1, 2)):
            given = list(group)
            trials = [self._trial(plan, *row[3:6]) for row in given]
            passed = [trial["passed"] for trial in trials if trial["check"]]
            yield {
                "format": FORMAT,
                "version": VERSION,
                "page": self.page.page,
                "participant": participant,
                "plan": plan,
                "started": agreed,
                "finished": given[-1][-1] if len(given) == len(self.page.plans[plan]) else None,
                "systems": self.page.systems,
                "checks": {"passed": sum(passed), "of": len(passed)},
                "trials": trials,
            }

    def _trial(self, plan: int, index: int, answer: str, milliseconds: int) -> dict[str, Any]:
        trial = self.page.plans[plan][index]
        image = self.page.images[trial.image]
        given = {
            "question": trial.question,
            "check": trial.check,
            "image": image.name,
            "category": image.category,
            "left": self.page.colored_by(trial.left),
            "right": self.page.colored_by(trial.right),
            "answer": answer,
            "milliseconds": milliseconds,
        }
        return given | ({"passed": given[answer] != "broken"} if trial.check else {})

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock from the first query, so that what was read stays true."""
        with self._lock, self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


def _create(path: Path, page: StudyPage, consent: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        with closing(sqlite3.connect(path)) as connection:
            # One transaction: a killed process leaves all tables or none.
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
            row = (page.model_dump_json(), consent)
            connection.execute("INSERT INTO study VALUES (?, ?)", row)
            connection.commit()
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--answers {path} cannot be written: {reason}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
