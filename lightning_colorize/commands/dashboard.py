"""`lightning-colorize dashboard`: serves TensorBoard on the run folders, or a sweep's study."""

import argparse
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import Parser, expanded_path, host_names
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.common.extras import require_extra

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HELP = "show all runs in TensorBoard, or a sweep's study in optuna-dashboard, locally"

_HOST = "127.0.0.1"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--root", type=expanded_path, default="runs", metavar="FOLDER", help="folder of the runs"
    )
    what.add_argument(
        "--study",
        metavar="FOLDER_OR_URL",
        help="show a sweep's study in optuna-dashboard instead; the sweep's folder, or the URL of "
        "its database",
    )
    text = "port to listen on; if taken, a free one is used"
    parser.add_int("--port", text, 0, 65535, default=6006, metavar="PORT")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; returns 130."""
    root: Path = args.root
    if args.study is None and not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder of all runs (--root FOLDER)")
    port = _free_port(args.port)
    if port != args.port != 0:
        print(f"port {args.port} is taken")
    try:
        if args.study is None:
            _serve(root, port)
            threading.Event().wait()
        else:
            _serve_study(args.study, port)
    except KeyboardInterrupt:
        print()
    return 130


def _serve(root: Path, port: int) -> None:
    # TensorBoard warns on every start that TensorFlow is missing, which it does not need.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard.program import (  # type: ignore[import-untyped]
        TensorBoard,
        WerkzeugServer,
    )

    board = TensorBoard(server_class=lambda app, flags: WerkzeugServer(_guarded(app), flags))
    # TensorBoard's faster loader is a separate process, and experimental.
    words = ("--logdir", str(root), "--host", _HOST, "--port", str(port), "--load_fast", "false")
    board.configure(("", *words))
    print(f"TensorBoard on {root}: {board.launch()} (Ctrl-C stops it)", flush=True)


def _serve_study(url: str, port: int) -> None:
    """Serve the studies of a database in optuna-dashboard until interrupted."""
    from lightning_colorize.sweeps.study import open_storage

    require_extra("cluster", "dashboard --study", "optuna_dashboard")
    opened = open_storage(os.path.expanduser(url), create=False)
    studies = opened.get_all_studies()
    if not studies:
        raise UsageError(f"{opened.shown} contains no sweep; start one with sweep run")
    import optuna_dashboard  # type: ignore[import-untyped]
    from werkzeug.serving import make_server

    # A line per request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = _guarded(optuna_dashboard.wsgi(opened), read_only=True)
    page = f"/studies/{studies[0]._study_id}" if len(studies) == 1 else ""
    server = make_server(_HOST, port, app, threaded=True)
    shown = f"http://{_HOST}:{server.port}/dashboard{page}"
    print(f"optuna-dashboard on {opened.shown}: {shown} (Ctrl-C stops it)", flush=True)
    server.serve_forever()


def _guarded(app: "WSGIApplication", read_only: bool = False) -> "WSGIApplication":
    """Refuse requests to host names other than this machine's.

    With `read_only`, also refuse requests that change a study: its workers may be running.
    A request that fails is reported in one line.
    """
    from werkzeug.exceptions import Forbidden, InternalServerError, MethodNotAllowed
    from werkzeug.sansio.utils import host_is_trusted

    reading = ("GET", "HEAD")

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if not host_is_trusted(environ.get("HTTP_HOST"), host_names(_HOST)):
            text = f"Open http://{_HOST} or http://localhost with this port."
            return Forbidden(text)(environ, start)
        if read_only and environ["REQUEST_METHOD"] not in reading:
            return MethodNotAllowed(reading, "This study is read-only.")(environ, start)
        try:
            return app(environ, start)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            print(f"{environ['PATH_INFO']!r} failed: {reason}", file=sys.stderr, flush=True)
            return InternalServerError()(environ, start)

    return answer


def _free_port(preferred: int) -> int:
    """Return the port if it is free, otherwise one assigned by the system."""
    try:
        server = socket.create_server((_HOST, preferred))
    except OSError:
        server = socket.create_server((_HOST, 0))
    with server:
        return int(server.getsockname()[1])
