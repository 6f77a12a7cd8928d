"""A static page that colors images in the browser: ONNX Runtime Web runs an exported graph."""

import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import atomic_file, write_atomic
from lightning_colorize.reports import kit
from lightning_colorize.reports.kit.html import render

GRAPH = "model.onnx"
"""The file of the network in the folder of a page, see `export_graph`."""

_LIBRARY = "onnxruntime-web"
_VERSION = "1.30.0"
_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_SECONDS = 300  # for the download
_MOST_PIXELS = 12_000_000  # of one image: WebAssembly has 4 GB


def read_library() -> dict[str, bytes]:
    """Return the files of ONNX Runtime Web, from an installed npm package or fetched."""
    installed = Path("node_modules") / _LIBRARY / "dist"
    if all((installed / name).is_file() for name in _FILES):
        return {name: (installed / name).read_bytes() for name in _FILES}
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{_LIBRARY}@{_VERSION}"]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS
            )
            (packed,) = Path(folder).glob("*.tgz")
            with tarfile.open(packed) as archive:
                members = {name: archive.extractfile(f"package/dist/{name}") for name in _FILES}
                return {name: file.read() for name, file in members.items() if file}
        except (SubprocessError, tarfile.TarError, OSError, ValueError, KeyError) as error:
            text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            reason = text.strip().partition("\n")[0]
            raise UsageError(
                f"the page needs {_LIBRARY}, which npm did not fetch: {reason}; with npm and "
                f"network, run `npm install {_LIBRARY}` in this folder"
            ) from None


def write_web_page(
    folder: Path, library: Mapping[str, bytes], model: str, settings: Mapping[str, Any]
) -> None:
    """Write the page into the folder of its graphs, with a line about the model."""
    for name, content in library.items():
        with atomic_file(folder / name) as opened:
            opened.write(content)
    worker = files(kit) / "templates" / "worker.js"
    write_atomic(folder / "worker.js", worker.read_text(encoding="utf-8"))
    write_atomic(folder / "index.html", page_html(model, settings))


def page_html(model: str, settings: Mapping[str, Any], most: int = _MOST_PIXELS) -> str:
    """Return the page.

    Args:
        model: A line about the model.
        settings: See `inference.export.write_around`; with `server`, a server computes.
        most: Maximum number of pixels; larger images are reduced.
    """
    page = {"title": "Color a black-and-white photograph", "model": model}
    settings = {"server": False, "most": most, **settings}
    return render("web.html.jinja", "kit.css", "web.css", "web.js", page=page, settings=settings)
