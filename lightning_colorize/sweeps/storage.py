"""Studies in a journal, SQLite or PostgreSQL; locks are released when their holder dies."""

import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import OptunaError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from lightning_colorize.common.arguments import install
from lightning_colorize.common.errors import UsageError, WorkError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

Result = TypeVar("Result")

JOURNAL = "study.journal"

PATIENCE = 300.0
"""Seconds for which a database may be unreachable."""

_SECRETS = ("password", "sslpassword")
_ACCEPTED = "give a sweep's folder, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_CONNECT_TIMEOUT = 5
# Without these, a server releases the lock of a vanished machine after two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# Seconds to wait for a lock; then the caller can check whether it should stop.
_LOCK_TIMEOUT = 5.0
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class OpenStorage:
    """An open storage."""

    storage: BaseStorage
    lock: Callable[[str], AbstractContextManager[Any]]  # of the study with a name
    url: str  # how another process opens it: a folder or a URL, including the password
    shown: str  # the same for messages, without the password


def open_storage(url: str, create: bool) -> OpenStorage:
    """Open a storage: a sweep's folder, or a URL in SQLAlchemy's form."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if "://" in url:
        return _open_database(url, create)
    return _open_journal(Path(url), create)


def _open_journal(folder: Path, create: bool) -> OpenStorage:
    path = folder / JOURNAL
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise UsageError(
            f"{path} does not exist; {_ACCEPTED} (of a sweep started with --storage URL)"
        )
    lock = _file_lock(path)
    try:
        storage = JournalStorage(JournalFileBackend(str(path), _JournalLock(path, lock)))
    except (ValueError, TypeError, KeyError):  # not JSON, or not Optuna's
        raise UsageError(f"{path} is not the journal of a sweep; {_ACCEPTED}") from None
    return OpenStorage(storage, lambda _: lock, str(folder.resolve()), str(folder))


def _open_database(given: str, create: bool) -> OpenStorage:
    from sqlalchemy.exc import SQLAlchemyError

    url, options = _engine_options(given)
    shown = url.difference_update_query(_SECRETS).render_as_string(hide_password=True)
    whole = url.render_as_string(hide_password=False)
    is_sqlite = url.get_backend_name() == "sqlite"
    file = Path(str(url.database))
    if is_sqlite:
        if not create and not file.is_file():
            raise UsageError(f"{file} does not exist; {_ACCEPTED}")
        file.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> RDBStorage:
        return RDBStorage(whole, engine_kwargs=options, skip_table_creation=not create)

    try:
        try:
            database = connect()
        except SQLAlchemyError:
            if not create:
                raise
            # Another process may have created the tables at the same moment.
            database = connect()
    except ImportError:
        raise UsageError(f"PostgreSQL needs a driver: {install('cluster')}") from None
    except (SQLAlchemyError, OptunaError) as error:
        raise UsageError(
            f"{shown} contains no study, or is not usable: {database_message(error)}"
        ) from error

    def lock(name: str) -> AbstractContextManager[Any]:
        return _file_lock(file) if is_sqlite else _PostgresLock(database.engine, name)

    return OpenStorage(get_storage(database), lock, whole, shown)


def _engine_options(given: str) -> tuple["URL", dict[str, Any]]:
    """Return a URL as its driver needs it, and the options of SQLAlchemy's engine."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        # Some hosts give the short form.
        url = make_url(given.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise UsageError(f"the URL of the study cannot be parsed; {_ACCEPTED}") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UsageError(f"{given} is not a file that workers can share; {_ACCEPTED}")
        url = url.set(database=str(Path(url.database).expanduser().resolve()))
        return url, {"connect_args": {"timeout": 60}}
    if backend != "postgresql":
        raise UsageError(f"studies cannot be stored in {backend}; {_ACCEPTED}")
    if "@" in given.partition("://")[2].partition(":")[2].partition("@")[2]:
        # It would end the password, and the rest would be shown as the host.
        raise UsageError("the URL of the study contains a second @: write %40 in its password")
    url = url.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT, **_KEEPALIVES}
    server = {f"tcp_{name}": seconds for name, seconds in _KEEPALIVES.items()}
    arguments["options"] = " ".join(f"-c {name}={value}" for name, value in server.items())
    # One connection, which holds a study's lock; Optuna briefly needs a second one at the start.
    return url, {"connect_args": arguments, "pool_size": 1, "max_overflow": 1}


def _file_lock(path: Path) -> FileLock:
    """Return a lock on a hidden file next to the study's, released when its holder dies."""
    return FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_TIMEOUT)


class _JournalLock(BaseJournalFileLock):
    """The same lock, held for each line that Optuna appends to a journal.

    Optuna's own lock files outlive a killed holder, and the other workers then wait for 30 s.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self._path = path
        self._lock = lock

    def acquire(self) -> bool:
        """Wait for the lock, then cut off the line that a killed worker was writing.

        Optuna would stop reading there.
        """
        self._lock.acquire()
        with self._path.open("rb+") as journal:
            end = journal.seek(0, os.SEEK_END)
            journal.seek(max(0, end - 1))
            if journal.read(1) != b"\n":
                journal.seek(0)
                journal.truncate(journal.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


class _PostgresLock:
    """A PostgreSQL advisory lock, held by the connection that the storage writes with.

    If the lock had its own connection, a restart of the server could release it while the storage
    reconnects and keeps writing. Inside the lock a new connection is refused, so that only the
    holder of the lock writes.
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

    def __exit__(self, *_: object) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            # If the connection is gone, the server has released its locks.
            with suppress(SQLAlchemyError, ConnectionLost):
                self._call("pg_advisory_unlock")
        finally:
            self._held = False

    def _call(self, function: str) -> None:
        from sqlalchemy import text

        with self._engine.begin() as connection:
            connection.execute(text(f"SELECT {function}(:key)"), {"key": self._key})

    def _refuse_if_held(self, *_: Any) -> None:
        if self._held:
            raise ConnectionLost


class ConnectionLost(Exception):
    """The connection that held a study's lock is lost, and so is the lock."""


def is_transient(error: Exception) -> bool:
    """Return whether a later call may succeed: the server restarts, a file is locked."""
    from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, PendingRollbackError

    return isinstance(
        _cause(error),
        ConnectionLost
        | Timeout
        | OperationalError
        | InterfaceError
        | InternalError
        | PendingRollbackError,
    )


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, StorageInternalError | UsageError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def database_message(error: BaseException) -> str:
    """Return a database's message without the statement and the advice that follow."""
    cause = _cause(error)
    message = str(getattr(cause, "orig", None) or cause)
    return message.strip().partition("\n")[0]


def answered(
    call: Callable[[], Result],
    patience: Callable[[], float] = lambda: PATIENCE,
    failed: Callable[[], object] = lambda: None,
) -> Result:
    """Return the database's answer; while there is none, report it once and repeat the call.

    `call` must be idempotent, as an answer may be lost on its way. `patience`, in seconds from the
    first call, is evaluated after each failure; `failed` is called then, too.

    Raises:
        WorkError: If the patience is exhausted.
    """
    pause, began, is_reported = 0.1, time.monotonic(), False
    while True:
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
            failed()
            reason = f"the study's database does not answer ({database_message(error)})"
            if not is_reported:
                print(f"{reason}; trying again", file=sys.stderr)
                is_reported = True
            if time.monotonic() - began > patience():
                raise WorkError(
                    f"the study's database has not answered for {patience():.0f} s "
                    f"({database_message(error)}); resume with sweep resume when it does"
                ) from None
        # Workers do not call a restarted database at the same moments.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)
