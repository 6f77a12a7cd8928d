"""A local Gradio page that colorizes photographs with several models."""

import logging
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio
import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute
from torch import Tensor

from lightning_colorize.common.arguments import host_names
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.data.decoding.files import ImageError, decode_image, read_header
from lightning_colorize.inference import painting
from lightning_colorize.inference.colorizer import Colorizer, Prediction
from lightning_colorize.inference.reference import NO_MATCH, read_reference
from lightning_colorize.models.base import Model

_PREVIEW = 640  # pixels of the short side
PAINTING = "paint"
"""Path of the page on which colors are painted."""

_EXAMPLES = ("valley", "cat", "skyline", "people")
_KEPT_SECONDS = 3600  # how long uploaded files and their predictions are kept
_SESSIONS = 20  # number of sessions whose photographs stay in memory
_SYSTEM_FONT = ["system-ui", "sans-serif"]  # Gradio's default fonts are fetched from another site


# Pages share the models, whose settings change.
_COMPUTING = threading.Lock()


@dataclass
class _Seen:
    """A photograph with the networks' predictions by model."""

    stem: str  # File name without suffix.
    predictions: dict[str, Prediction]
    previews: dict[str, Prediction]  # Predictions for a smaller copy.
    grey: np.ndarray  # The smaller copy without color, (H, W, 3), uint8.


def painter(models: Mapping[str, Colorizer]) -> Model | None:
    """Return the first model that takes color hints or samples; None without any."""
    chosen = (each.model for each in models.values())
    return next((m for m in chosen if m.draws or "hints" in m.conditions), None)


def build_demo(models: Mapping[str, Colorizer], max_pixels: int) -> gradio.Blocks:
    """Return the page, which refuses images with more pixels than `max_pixels`."""
    sliders: dict[str, list[float]] = {}  # lowest value, highest value, step
    starts: dict[str, float] = {}  # value in the first model that has the setting
    referring = [name for name, each in models.items() if "reference" in each.model.conditions]
    for model in models.values():
        sliders = {**model.model.settings.sliders(), **sliders}
        starts = {**model.decoding, **starts}

    def refer(name: str | None) -> Tensor | None:
        """Return the reference, reduced."""
        if name is None:
            return None
        file = Path(name)
        try:
            return read_reference(file, max_pixels).rgb
        except UsageError as error:
            gradio.Warning(f"Not used: {error}".replace(name, file.name))
            return None

    def predict(name: str | None, reference: Tensor | None) -> _Seen | None:
        """Run each network once on the photograph."""
        if name is None:
            return None
        file = Path(name)
        try:
            data = file.read_bytes()
            header = read_header(data, file)
            if header.height * header.width > max_pixels:
                size, most = header.height * header.width / 1e6, max_pixels / 1e6
                gradio.Warning(f"This image has {size:.1f} megapixels; the maximum is {most:g}")
                return None
            rgb = decode_image(data, file)
        except ImageError as error:
            gradio.Warning(f"This file cannot be read: {error.reason}")
            return None
        small = resize_short_side(rgb, min(_PREVIEW, *rgb.shape[-2:]))
        with _COMPUTING:
            pixels = rgb.permute(1, 2, 0).numpy()
            predictions = {
                name: model.prepare(pixels, reference=reference if name in referring else None)
                for name, model in models.items()
            }
        hints = [each.whole.condition.hints for each in predictions.values()]
        if reference is not None and not any(each is not None and each.any() for each in hints):
            gradio.Warning(f"Not used: {NO_MATCH}")
        previews = {name: replace(each, rgb=small) for name, each in predictions.items()}
        grey = next(iter(previews.values())).colorize(strength=0)
        return _Seen(file.stem, predictions, previews, grey)

    def decode(prediction: Prediction, values: tuple[float, ...]) -> np.ndarray:
        """Return (H, W, 3), uint8; sliders that were not moved keep the model's own value."""
        own = prediction.whole.model.settings.names()
        moved: dict[str, Any] = {
            name: value
            for name, value in zip(sliders, values, strict=True)
            if value != starts[name] and name in own
        }
        with _COMPUTING:
            return np.asarray(prediction.colorize(**moved))

    def show(seen: _Seen | None, *values: float) -> Any:
        """Return the results' column, and grey and colorized previews with the slider values."""
        pairs: list[Any] = [None] * len(models)
        if seen is not None:
            pairs = [(seen.grey, decode(preview, values)) for preview in seen.previews.values()]
        return gradio.Column(visible=seen is not None), *pairs

    def link(name: str | None, reference: str | None) -> gradio.Button:
        """Return the button to the painting page, which fetches the files after each #."""
        files = [each for each in (name, reference) if each and name]
        return gradio.Button(
            link=PAINTING + "".join(f"#gradio_api/file={quote(each)}" for each in files)
        )

    def write(seen: _Seen | None, *values: float) -> gradio.Files:
        """Write the images at full size."""
        if seen is None:
            gradio.Warning("Choose a photograph first")
            return gradio.Files(visible=False)
        folder = Path(tempfile.mkdtemp(dir=page.GRADIO_CACHE))
        files = []
        for name, prediction in seen.predictions.items():
            files.append(str(folder / f"{seen.stem}-{name.replace('/', '_')}.png"))
            Image.fromarray(decode(prediction, values)).save(files[-1])
        return gradio.Files(files, visible=True)

    with gradio.Blocks(
        title="Colorize a photograph",
        analytics_enabled=False,
        delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS),
    ) as blocks:
        page: gradio.Blocks = blocks
        gradio.Markdown(
            "# Colorize a black-and-white photograph\n"
            "The colors are plausible, not the true colors of the scene."
        )
        seen, asked = (gradio.State(None, time_to_live=_KEPT_SECONDS) for _ in range(2))
        with gradio.Row():
            with gradio.Column(scale=3, visible=False) as results, gradio.Row():
                sheets = [
                    gradio.ImageSlider(label=name, interactive=False, max_height=640)
                    for name in models
                ]
            with gradio.Column(min_width=300):
                # Not an Image component, for which Gradio would decode the file itself.
                given = gradio.File(label="Photograph", type="filepath", height=140)
                gradio.Examples(_example_files(Path(page.GRADIO_CACHE)), given, label="Examples")
                reference = gradio.File(
                    label="Reference: same scene in color",
                    type="filepath",
                    height=140,
                    visible=bool(referring),
                )
                controls = [
                    gradio.Slider(low, high, starts[name], step=step, label=name.capitalize())
                    for name, (low, high, step) in sliders.items()
                ]
                save = gradio.Button("Save the images at full size")
                paint = gradio.Button(
                    "Choose colors yourself", link=PAINTING, visible=painter(models) is not None
                )
                written = gradio.Files(label="Files", interactive=False, visible=False)
        # One at a time: they share the models. The last is for the present files and sliders.
        alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "models"}
        alone["trigger_mode"] = "always_last"
        decoding: list[Any] = [seen, *controls]
        shown: list[Any] = [results, *sheets]
        predicting: list[Any] = [given, asked]
        given.change(predict, predicting, seen, **alone).then(show, decoding, shown, **alone)
        reference.change(refer, reference, asked, **alone).then(
            predict, predicting, seen, **alone
        ).then(show, decoding, shown, **alone)
        for file in (given, reference):
            file.change(link, [given, reference], paint)
        for slider in controls:
            slider.input(show, decoding, shown, **alone)
        save.click(write, decoding, written, **alone)
    return page


def _example_files(folder: Path) -> list[str]:
    """Write grey versions of public-domain photographs; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{folder}/{name}.jpg" for name in _EXAMPLES]
    for file in files:
        Image.open(bundled("photographs") / Path(file).name).convert("L").save(file)
    return files


def _refuse_other_sites(request: Request) -> None:
    """Refuse what the page of another site sends in a visitor's browser, such as uploads."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise HTTPException(403)


def painting_routes(html: str, model: Model, max_pixels: int, max_bytes: int) -> list[BaseRoute]:
    """Return the routes of the page on which colors are painted, and of what it asks."""
    router = APIRouter(dependencies=[Depends(_refuse_other_sites)])

    def answer(request: bytes) -> bytes:
        with _COMPUTING:
            return painting.answer(model, request, max_pixels)

    @router.get(f"/{PAINTING}")
    async def show() -> HTMLResponse:
        return HTMLResponse(html)

    @router.post(f"/{PAINTING}")
    async def color(request: Request) -> Response:
        if "Transfer-Encoding" in request.headers:  # no length in advance
            raise HTTPException(411)
        try:
            if not 0 < int(request.headers.get("Content-Length", 0)) <= max_bytes:
                raise HTTPException(413)
            return Response(await run_in_threadpool(answer, await request.body()))
        except (ValueError, UsageError):
            raise HTTPException(400) from None

    return router.routes


def serve(
    page: gradio.Blocks, host: str, port: int, max_bytes: int, routes: Sequence[BaseRoute] = ()
) -> None:
    """Serve the page, and more routes, until interrupted."""
    trusted = Middleware(TrustedHostMiddleware, host_names(host), www_redirect=False)
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=max_bytes,
        share=False,
        quiet=True,
        ssr_mode=False,
        footer_links=[],
        app_kwargs={"middleware": [trusted], "dependencies": [Depends(_refuse_other_sites)]},
        run_history=False,
        enable_monitoring=False,
        state_session_capacity=_SESSIONS,
        theme=gradio.themes.Default(font=_SYSTEM_FONT, font_mono=["monospace"]),
        prevent_thread_lock=True,
    )
    page.app.router.routes[:0] = routes  # before Gradio's, which match any name
    # Of malformed requests, uvicorn logs warnings and tracebacks.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    print(f"http://{host}:{port} (Ctrl-C stops it)", flush=True)
    page.block_thread()
