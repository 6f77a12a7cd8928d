"""Where a study is kept: a journal file, SQLite or PostgreSQL."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.lock import FileTurn, JournalTurn, ServerTurn
from lightning_colorize.sweeps.retry import first_line

if TYPE_CHECKING:
    from sqlalchemy import URL

JOURNAL = "study.journal"

_SECRETS = ("password", "sslpassword")
_WANTED = "give a sweep's folder, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_SECONDS_TO_CONNECT = 5
# A machine that vanished keeps its lock until the server has found out, by default in two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


@dataclass(frozen=True)
class Place:
    """An open storage.

    Attributes:
        storage: Optuna's.
        lock: Gives the lock of a study of that name.
        address: How another process opens it: a folder or a URL, with the password if any.
        shown: The same for people to read, without the password.
    """

    storage: BaseStorage
    lock: Callable[[str], AbstractContextManager[None]]
    address: str
    shown: str


def silence() -> None:
    """Keep Optuna from logging and warning: what matters of it is said in this package's words."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_place(address: str, create: bool) -> Place:
    """Open a storage.

    Args:
        address: A sweep's folder, its journal, or a URL as SQLAlchemy has them.
        create: Whether to make what is not there yet.

    Raises:
        UsageError: If there is none, it does not answer, or its driver is missing.
    """
    silence()
    if "://" in address:
        return _open_database(address, create)
    path = Path(address)
    return _open_journal(path if path.is_file() else path / JOURNAL, create)


def _open_journal(path: Path, create: bool) -> Place:
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise UsageError(
            f"{path} does not exist; {_WANTED} (of a sweep that was begun with --storage URL)"
        )
    turn = FileTurn(path)
    try:
        storage = JournalStorage(JournalFileBackend(str(path), JournalTurn(path, turn)))
    except (ValueError, TypeError, KeyError):  # no JSON, or not Optuna's
        raise UsageError(f"{path} is not the journal of a sweep; {_WANTED}") from None
    # A journal of another name is not found by its folder.
    place = path.parent if path.name == JOURNAL else path
    return Place(storage, lambda _: turn, str(place.resolve()), str(place))


def _open_database(address: str, create: bool) -> Place:
    from sqlalchemy.exc import SQLAlchemyError

    url, options = _engine(address)
    shown = url.difference_update_query(_SECRETS).render_as_string(hide_password=True)
    whole = url.render_as_string(hide_password=False)
    if url.database and url.get_backend_name() == "sqlite":
        file = Path(url.database)
        if not create and not file.is_file():
            raise UsageError(f"{file} does not exist; {_WANTED}")
        file.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> RDBStorage:
        return RDBStorage(whole, engine_kwargs=options, skip_table_creation=not create)

    try:
        try:
            database = connect()
        except SQLAlchemyError as error:
            if "already exists" not in str(error):
                raise
            # Somebody else has made the tables in the same moment.
            database = connect()
    except ImportError:
        raise UsageError(
            "PostgreSQL needs a driver: pip install 'lightning-colorize[cluster]'"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise UsageError(
            f"{shown} holds no study, or cannot be used: {first_line(error)}"
        ) from None

    def lock(name: str) -> AbstractContextManager[None]:
        if url.get_backend_name() == "sqlite":
            return FileTurn(Path(str(url.database)))
        return ServerTurn(database.engine, name)

    return Place(get_storage(database), lock, whole, shown)


def _engine(address: str) -> tuple["URL", dict[str, Any]]:
    """Return a URL as the driver needs it, and how SQLAlchemy is to treat it."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        # The short form is that of some hosts.
        url = make_url(address.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise UsageError(f"the URL of the study cannot be read; {_WANTED}") from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UsageError(f"{address} is no file that workers could share; {_WANTED}")
        url = url.set(database=str(Path(url.database).expanduser().resolve()))
        return url, {"connect_args": {"timeout": 60}}
    if backend != "postgresql":
        raise UsageError(f"a study is not kept in {backend}; {_WANTED}")
    url = url.set(drivername="postgresql+psycopg")
    arguments: dict[str, Any] = {"connect_timeout": _SECONDS_TO_CONNECT, **_KEEPALIVES}
    server = {f"tcp_{name}": seconds for name, seconds in _KEEPALIVES.items()}
    arguments["options"] = " ".join(f"-c {name}={value}" for name, value in server.items())
    # One connection, which a study's lock may rely on; Optuna needs two for a moment at the start.
    return url, {"connect_args": arguments, "pool_size": 1, "max_overflow": 1}
