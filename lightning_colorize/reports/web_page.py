"""A static page that colors images in the browser: ONNX Runtime Web runs an exported graph."""

import subprocess
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import atomic_file, write_atomic
from lightning_colorize.reports import kit
from lightning_colorize.reports.kit.html import render

GRAPH = "model.onnx"
"""The file of the graph in the folder of a page."""

_LIBRARY = "onnxruntime-web"
_VERSION = "1.30.0"
_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_SECONDS = 300  # for the download


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
        except (
            OSError,
            ValueError,
            KeyError,
            tarfile.TarError,
            subprocess.SubprocessError,
        ) as error:
            text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            reason = text.strip().partition("\n")[0]
            raise UsageError(
                f"the page needs {_LIBRARY}, which npm did not fetch: {reason}; with npm and "
                f"network, run `npm install {_LIBRARY}` in this folder"
            ) from None


def write_web_page(folder: Path, library: dict[str, bytes], model: str) -> None:
    """Write the page into the folder of its `GRAPH`, with a line about the model."""
    for name, content in library.items():
        with atomic_file(folder / name) as opened:
            opened.write(content)
    worker = files(kit) / "templates" / "worker.js"
    write_atomic(folder / "worker.js", worker.read_text(encoding="utf-8"))
    page = {"title": "Color a black-and-white photograph", "model": model}
    html = render("web.html.jinja", "kit.css", "web.css", "web.js", page=page)
    write_atomic(folder / "index.html", html)
