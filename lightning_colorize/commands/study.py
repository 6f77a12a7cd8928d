"""`lightning-colorize study`: plans and serves a study, and scores its answers."""

import argparse
from importlib import import_module

from lightning_colorize.common.arguments import expanded_path, number

HELP = "serve a study page, score its answers, or plan how many raters it needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help_: str, module: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help_, description=help_)
        added.set_defaults(module=module)
        return added

    serve = action(
        "serve",
        "serve a study page through secret links, on this machine only unless --host is given",
        "study_serve",
    )
    serve.add_argument(
        "page", metavar="PAGE_DIR", type=expanded_path, help="folder written by compare --study"
    )
    serve.add_argument(
        "--answers",
        metavar="FILE.sqlite",
        type=expanded_path,
        required=True,
        help="file for links and answers; starting again with it continues the study",
    )
    serve.add_argument(
        "--raters",
        metavar="N",
        type=number(int, 1, 10_000),
        default=20,
        help="number of links; a larger number adds links to a study (default: 20)",
    )
    serve.add_argument(
        "--consent",
        metavar="FILE",
        type=expanded_path,
        help="text that raters agree to before the first pair; an empty line separates "
        "paragraphs (default: the text in FILE.sqlite, or the bundled one)",
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 allows other machines (default: this machine only)",
    )
    serve.add_argument(
        "--port",
        type=number(int, 0, 65535),
        default=8000,
        help="port to listen on; 0 for a free one",
    )
    serve.add_argument(
        "--url", help="base URL of the links, such as https://study.example.org behind a proxy"
    )
    serve.add_argument(
        "--rate",
        metavar="N",
        type=number(float, 0.01),
        default=50.0,
        help="maximum requests per second per address, shared by raters "
        "behind a proxy (default: 50)",
    )

    export = action("export", "write the answers of a served study as files", "study_serve")
    export.add_argument(
        "answers", metavar="FILE.sqlite", type=expanded_path, help="file written by study serve"
    )
    export.add_argument(
        "folder",
        metavar="FOLDER",
        type=expanded_path,
        help="folder for one JSON file per rater, for study score",
    )

    score = action("score", "show how often systems fooled people or were preferred", "study_score")
    score.add_argument(
        "files",
        metavar="FILE.json",
        nargs="+",
        type=expanded_path,
        help="files of answers from the page or from study export, one per participant",
    )
    score.add_argument(
        "--by",
        choices=("rater", "image"),
        action="append",
        default=[],
        help="also show the rates per rater or image; may be repeated",
    )
    score.add_argument(
        "--seed", metavar="N", type=number(int, 0), default=0, help="seed of the intervals"
    )
    score.add_argument(
        "--json", metavar="FILE", type=expanded_path, help="write the unrounded results"
    )

    power = action("power", "show how small a preference a study can detect", "study_score")
    for name, default, help_ in (
        ("raters", None, "raters who pass the checks"),
        ("pairs", None, "pairs of the same two systems that each rater judges"),
        ("images", 60, "images of the study (default: 60)"),
    ):
        count, needed = number(int, 1, 1_000_000), default is None
        power.add_argument(
            f"--{name}", metavar="N", type=count, default=default, required=needed, help=help_
        )
    power.add_argument(
        "--preference",
        metavar="P",
        type=float,
        default=0.55,
        help="share of answers for the better system, above 0.5 and below 1 (default: 0.55)",
    )
    for who, answers in (("rater", "answers of one rater"), ("image", "answers to one image")):
        power.add_argument(
            f"--{who}-correlation",
            metavar="R",
            type=number(float, 0, 1),
            default=0.05,
            help=f"correlation between {answers}, from 0 to 1 (default: 0.05)",
        )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    module = import_module(f"lightning_colorize.commands.{args.module}")
    return int(getattr(module, args.action)(args))
