"""`lightning-colorize dashboard`: TensorBoard on the run folders, or a sweep's study."""

import argparse
import logging
import os
import socket
import threading
from pathlib import Path

from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError

HELP = "show all runs in TensorBoard, or a sweep's study in optuna-dashboard"

_HOST = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--root",
        type=expanded_path,
        default="runs",
        metavar="FOLDER",
        help="folder of all runs (default: runs)",
    )
    what.add_argument(
        "--study",
        metavar="FOLDER_OR_URL",
        help="show a sweep's study in optuna-dashboard instead: the sweep folder or storage URL",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=6006,
        help="local port; if taken, a free one is used (default: 6006)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; return 130."""
    root: Path = args.root
    if args.study is None and not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder of all runs (--root FOLDER)")
    if not 0 <= args.port < 65536:
        raise UsageError(f"--port {args.port} is not in 0..65535")
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
    # TensorBoard would warn on every start that TensorFlow is not installed.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard.program import TensorBoard  # type: ignore[import-untyped]

    board = TensorBoard()
    # TensorBoard's faster reader is experimental.
    words = ("--logdir", str(root), "--host", _HOST, "--port", str(port), "--load_fast", "false")
    board.configure(("", *words))
    print(f"TensorBoard on {root}: {board.launch()} (Ctrl-C stops it)", flush=True)


def _serve_study(study: str, port: int) -> None:
    from lightning_colorize.sweeps.study_page import serve_study

    serve_study(os.path.expanduser(study), _HOST, port, lambda line: print(line, flush=True))


def _free_port(preferred: int) -> int:
    """Return the preferred port if it is free, else another free one."""
    for port in (preferred, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((_HOST, port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise UsageError(f"no free port on {_HOST}; give one with --port")
