"""One worker at a time chooses and closes the trials of a study."""

import os
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from optuna.storages.journal._file import BaseJournalFileLock

from lightning_colorize.sweeps.retry import ConnectionLost, LockHeld

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PATIENCE = 5.0
"""Seconds for which a lock is waited for; then who waits may look whether he is to end."""


class FileTurn:
    """A lock on a hidden file beside a study's; the system frees it when its holder dies.

    Args:
        path: The study's file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))

    def __enter__(self) -> None:
        try:
            self._lock.acquire(_PATIENCE, poll_interval=0.01)
        except Timeout:
            raise LockHeld(
                f"another process has {self._lock.lock_file} for {_PATIENCE:g} s; "
                "if one is stopped, continue or end it"
            ) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class JournalTurn(BaseJournalFileLock):
    """The same lock for each line that Optuna appends to a journal.

    Optuna's own locks are files that stay when their holder is killed: the others would then wait
    for 30 s.

    Args:
        path: The journal.
        turn: The study's lock, which its holder may take once more.
    """

    def __init__(self, path: Path, turn: FileTurn) -> None:
        self._path = path
        self._turn = turn

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._turn.__enter__()
        self._drop_half_line()
        return True

    def release(self) -> None:
        """Free the lock."""
        self._turn.__exit__(None, None, None)

    def _drop_half_line(self) -> None:
        """Cut off what a worker was writing when it was killed; Optuna would read no further."""
        with self._path.open("rb+") as journal:
            end = journal.seek(0, os.SEEK_END)
            if not end:
                return
            journal.seek(end - 1)
            if journal.read(1) != b"\n":
                journal.seek(0)
                journal.truncate(journal.read().rfind(b"\n") + 1)


class ServerTurn:
    """An advisory lock of a PostgreSQL server, held by the connection that the storage writes with.

    Were it another connection's, a restart of the server could free the lock while the storage
    reconnects and writes on. So inside the lock a new connection is refused: whatever is written
    there, is written by the holder.

    Args:
        engine: Of the storage; keeps a single connection.
        name: The study's.
    """

    def __init__(self, engine: "Engine", name: str) -> None:
        from sqlalchemy import event

        digest = sha256(f"lightning-colorize sweep {name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._engine = engine
        self._held = False
        event.listen(engine, "do_connect", self._refuse_if_held)

    def __enter__(self) -> None:
        self._call("pg_advisory_lock")
        self._held = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._call("pg_advisory_unlock")
        except (SQLAlchemyError, ConnectionLost):
            pass  # The connection is gone, and the server has freed its locks.
        finally:
            self._held = False

    def _call(self, function: str) -> None:
        from sqlalchemy import text

        with self._engine.begin() as connection:
            connection.execute(text(f"SELECT {function}(:key)"), {"key": self._key})

    def _refuse_if_held(self, *_: Any) -> None:
        if self._held:
            raise ConnectionLost
