"""`lightning-colorize demo`: serves a page that colorizes photographs."""

import argparse
import errno
import os
import socket
import sys
import tempfile

from lightning_colorize.commands.options import add_loading_options
from lightning_colorize.common.arguments import Parser, split_name
from lightning_colorize.common.bundled import BUNDLED, DEFAULT
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.processes import exit_on_sigterm
from lightning_colorize.runs.folder import checkpoint_of

HELP = "serve a page that colorizes photographs, on this machine only unless --host is given"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--checkpoint",
        metavar="[NAME=]CKPT_OR_RUN",
        type=split_name,
        action="append",
        help="a model, as in colorize; may be repeated to show several side by side (default: the "
        "bundled model)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 allows other machines (default: this machine only)",
    )
    parser.add_int("--port", "port to listen on", most=65535, default=7860, metavar="PORT")
    parser.add_int("--max-megabytes", "maximum file size (default: 50)", default=50)
    parser.add_int("--max-megapixels", "maximum image size (default: 40)", default=40)
    add_loading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; returns 130."""
    given = args.checkpoint or [(DEFAULT, BUNDLED[DEFAULT])]
    named = {name or path.stem: checkpoint_of(path) for name, path in given}
    if len(named) < len(given):
        raise UsageError("--checkpoint: two models have the same name; give NAME=CKPT_OR_RUN")
    _require_free(args.host, args.port)
    exit_on_sigterm()  # after removing the page's files
    print("loading the model ...", file=sys.stderr, flush=True)
    from lightning_colorize.inference import load_model
    from lightning_colorize.inference.card import software
    from lightning_colorize.inference.painting import page_settings
    from lightning_colorize.reports.web_page import page_html

    with tempfile.TemporaryDirectory(prefix="lightning-colorize-") as folder:
        # Gradio reads this on import; it may only serve files from this folder.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        require_extra("demo", "the page", "gradio")
        from lightning_colorize.inference.demo import build_demo, painter, painting_routes, serve

        models = {
            name: load_model(path, args.allow_class, args.device) for name, path in named.items()
        }
        pixels, size = args.max_megapixels * 1_000_000, args.max_megabytes * 2**20
        page = build_demo(models, pixels)
        routes = []
        if model := painter(models):
            settings = {**page_settings(model), "server": True}
            # A request has four bytes per pixel, the hints, and a reference of 256 KB.
            html = page_html(software(model.path), settings, min(pixels, (size - 2**18) // 5))
            routes = painting_routes(html, model, pixels, size)
        serve(page, args.host, args.port, size, routes)
    return 130


def _require_free(host: str, port: int) -> None:
    if not host:  # would be any
        raise UsageError("--host is empty: give an address, such as 127.0.0.1")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            hint = f"; try --port {port + 1}" if error.errno == errno.EADDRINUSE else ""
            raise UsageError(f"--host {host} --port {port}: {error.strerror}{hint}") from None
