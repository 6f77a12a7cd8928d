"""A study in optuna-dashboard, to look at."""

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from lightning_colorize.common.errors import UsageError
from lightning_colorize.sweeps.storage import open_place

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def serve_study(address: str, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the studies of a journal or database until interrupted.

    Args:
        address: A sweep's folder, its journal, or the URL of a database.
        host: The address to listen on.
        port: A free one.
        say: Is given the line that says where.

    Raises:
        UsageError: If there is no study, or optuna-dashboard is not installed.
    """
    place = open_place(address, create=False)
    studies = place.storage.get_all_studies()
    if not studies:
        raise UsageError(f"{place.shown} holds no sweep; begin one with sweep run")
    try:
        import optuna_dashboard  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            "dashboard --study needs optuna-dashboard: pip install 'lightning-colorize[cluster]'"
        ) from None
    app = _only_to_look_at(optuna_dashboard.wsgi(place.storage))
    page = f"/studies/{studies[0]._study_id}" if len(studies) == 1 else ""
    with make_server(host, port, app, _Server, _Silent) as server:
        url = f"http://{host}:{server.server_port}/dashboard{page}"
        say(f"optuna-dashboard on {place.shown}: {url} (Ctrl-C ends it)")
        server.serve_forever()


def _only_to_look_at(app: "WSGIApplication") -> "WSGIApplication":
    """Refuse what changes a study: its name and trials are the workers', who may be at work."""

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start)
        start("405 Method Not Allowed", [("Content-Type", "application/json")])
        return [b'{"reason": "This study is only to look at."}']

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
