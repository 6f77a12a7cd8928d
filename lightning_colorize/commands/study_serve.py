"""`study serve` and `study export`."""

import argparse
import re
import socket
from contextlib import closing, suppress
from pathlib import Path

from lightning_colorize.common.arguments import host_names, install
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_json
from lightning_colorize.common.processes import exit_on_sigterm

_MOST_CONSENT = 20_000  # characters


def serve(args: argparse.Namespace) -> int:
    """Serve until interrupted; returns 130."""
    if args.url is not None and not re.fullmatch(r"https?://[^\s?#]+", args.url):
        raise UsageError(f"--url {args.url}: give a base URL, such as https://example.org")
    consent = None if args.consent is None else _read_consent(args.consent)
    exit_on_sigterm()
    from lightning_colorize.reports.perception.page import read_page
    from lightning_colorize.reports.perception.store import AnswerStore

    try:
        from lightning_colorize.reports.perception.server import CONSENT, StudyServer
    except ImportError as error:
        raise UsageError(f"the server needs {error.name}: {install('study')}") from None
    with closing(
        AnswerStore.serving(args.answers, read_page(args.page), consent, CONSENT)
    ) as store:
        try:
            listener = socket.create_server((args.host, args.port))
        except OSError as error:
            raise UsageError(f"--host {args.host} --port {args.port}: {error.strerror}") from None
        with listener:
            hosts = host_names(args.host, args.url)
            server = StudyServer(args.page, store, args.rate, hosts)
            address = f"http://{args.host}:{listener.getsockname()[1]}"
            tokens = store.invite(args.raters)
            start = (args.url or address).rstrip("/")
            print(f"{len(tokens)} links, one per rater:")
            print(*(f"{start}/t/{token}" for token in tokens), sep="\n")
            print(f"study on {address}, answers in {args.answers} (Ctrl-C stops it)", flush=True)
            with suppress(KeyboardInterrupt):
                server.run([listener])
    print()
    return 130


def export(args: argparse.Namespace) -> int:
    """Write one file per rater with answers; return 1 if there are none."""
    require_writable(args.folder / "answers.json", "FOLDER")
    from lightning_colorize.reports.perception.store import AnswerStore

    with closing(AnswerStore(args.answers)) as store:
        documents = list(store.documents())
    for document in documents:
        name = f"study-{document['page'][:6]}-{document['participant']}.json"
        write_json(args.folder / name, document)
    finished = sum(document["finished"] is not None for document in documents)
    print(f"{args.folder}: answers of {len(documents)} raters, of whom {finished} finished")
    return 0 if documents else 1


def _read_consent(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"--consent {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--consent {path} is not UTF-8 text") from None
    if not 0 < len(text) <= _MOST_CONSENT:
        raise UsageError(f"--consent {path}: it has {len(text)} characters, not 1..{_MOST_CONSENT}")
    return text
