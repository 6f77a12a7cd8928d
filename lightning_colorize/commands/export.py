"""`lightning-colorize export`: writes a trained network to one file, or a page that runs it."""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.commands.options import add_checkpoint, add_network_options, open_model
from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.files import require_new, require_writable, write_atomic

if TYPE_CHECKING:
    from lightning_colorize.inference import Colorizer

HELP = "write a trained network to one file: safetensors, ONNX or torch.export"

_FORMATS = {"safetensors": ".safetensors", "onnx": ".onnx", "torch-export": ".pt2"}
_WEB = "web"
_CALIBRATION = 128  # number of images


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    add_checkpoint(parser, "checkpoint")
    add_exported(parser)
    parser.add_argument(
        "--format",
        choices=[*_FORMATS, _WEB],
        help="safetensors: half precision, for this package; onnx and torch-export: a graph from L "
        "to ab that runs without this package; web: a page that colorizes photographs in the "
        "browser, with FILE as its folder (default: from the suffix of FILE)",
    )
    parser.add_flag(
        "--whole-image",
        "write an ONNX graph that turns an RGB image of any size into the colorized image, "
        "with resizing, LAB conversion and gamut mapping",
    )
    parser.add_path(
        "--int8",
        "FOLDER",
        "write an ONNX graph with 8-bit convolutions, a third of the size; the first 128 "
        "color images of FOLDER calibrate the ranges and measure the loss of quality",
    )


def add_exported(parser: Parser) -> None:
    """Add the output file, and the options that become its defaults."""
    parser.add_path("file", "FILE", "the file to write")
    parser.add_flag("--overwrite", "replace an existing FILE")
    add_network_options(parser, "short side of the network's input in pixels")


def require_exported(args: argparse.Namespace, *suffixes: str) -> None:
    """Check the suffix of the output file, and that the file can be written."""
    if args.file.suffix not in suffixes:
        raise UsageError(f"{args.file}: the name must end with {' or '.join(suffixes)}")
    require_new(args.overwrite, args.file, _card(args.file))
    require_writable(args.file, "FILE")


def write_card(model: "Colorizer", file: Path, rows: dict[str, str]) -> None:
    """Write the model card next to an exported file, and print both names."""
    write_atomic(_card(file), model.model_card(file.name, rows))
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB; model card: {_card(file)}")


def _card(file: Path) -> Path:
    return file.with_name(f"{file.name}.md")


def run(args: argparse.Namespace) -> int:
    """Export a network; the options become the file's defaults."""
    is_web = args.format == _WEB
    if is_web:
        _require_new_folder(args.file, args.overwrite)
    else:
        suffixes = [_FORMATS[args.format]] if args.format else _FORMATS.values()
        require_exported(args, *suffixes)
        if (args.whole_image or args.int8) and args.file.suffix != _FORMATS["onnx"]:
            raise UsageError("--whole-image and --int8 are for ONNX: give FILE.onnx")
    from lightning_colorize.data.sources.listing import require_folder
    from lightning_colorize.inference import Colorizer

    if is_web or args.file.suffix == _FORMATS["onnx"]:
        require_extra("onnx", "an ONNX file", "onnx", "onnxruntime", "onnxscript")
    if args.int8 is not None:
        require_folder(args.int8, "export", "--int8")
    is_graph = is_web or args.file.suffix != _FORMATS["safetensors"]
    loaded = Colorizer(open_model(args, "cpu" if is_graph else args.device))
    if is_web:
        _export_page(loaded, args)
    elif is_graph:
        _export_graph(loaded, args, args.file, page=False)
    else:
        loaded.export(args.file)
        write_card(loaded, args.file, {})
    return 0


def _export_graph(loaded: "Colorizer", args: argparse.Namespace, file: Path, page: bool) -> None:
    from lightning_colorize.evaluation import find_images
    from lightning_colorize.inference.export import export_graph, graph_files

    if loaded.model.draws:
        files = graph_files(file)
        require_new(args.overwrite or page, *files, *map(_card, files))
    calibration = None
    if args.int8 is not None:
        images = find_images(args.int8, "all").batches(loaded.size, 1, loaded.model.device)
        calibration = list(islice(images, _CALIBRATION))
    file.parent.mkdir(parents=True, exist_ok=True)
    print("converting and verifying; this takes about a minute", file=sys.stderr)
    image = args.whole_image and not page
    rows = export_graph(loaded.model, file, image, calibration, shares=page)
    for path, row in rows.items():
        write_card(loaded, path, row)


def _require_new_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise UsageError(
            f"{folder} is not an empty folder"
            + ("; --overwrite replaces files of a page" if folder.is_dir() else "")
        )
    require_writable(folder.parent / "index.html", "FILE")


def _export_page(loaded: "Colorizer", args: argparse.Namespace) -> None:
    from lightning_colorize.inference.card import software
    from lightning_colorize.inference.export import write_around
    from lightning_colorize.reports.web_page import GRAPH, read_library, write_web_page

    library = read_library()  # fail before the work starts
    settings = write_around(loaded.model, args.file)
    _export_graph(loaded, args, args.file / GRAPH, page=True)
    write_web_page(args.file, library, software(loaded.path), settings)
    print(f"{args.file}/index.html: upload the folder to a web host, or try it with")
    print(f"python -m http.server --bind 127.0.0.1 --directory {args.file}")
