"""The exported page in a real browser, with a real ONNX Runtime Web."""

import contextlib
import functools
import http.server
import io
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lightning_colorize.cli import main
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.inference import load_model
from lightning_colorize.models.exported import write_exported
from lightning_colorize.reports import web_page
from lightning_colorize.reports.web_page import read_library
from tests.painters import CANVAS, color_at, follower, paint_on, write_photograph
from tests.reports.conftest import DESK, PHONE


@pytest.fixture(scope="module")
def library():
    if shutil.which("npm") is None:
        pytest.skip("npm is missing")
    try:
        return read_library()
    except UsageError as error:
        pytest.skip(str(error))


class Quiet(http.server.SimpleHTTPRequestHandler):
    loads = threading.Event()  # else it holds back the graphs
    loads.set()

    def do_GET(self):
        """Return a file, if need be later."""
        assert not self.path.endswith(".onnx") or self.loads.wait(60)
        super().do_GET()

    def log_message(self, *args):
        """Print no requests."""


@contextlib.contextmanager
def _serve(folder):
    """A web host of a folder; yields its address."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextlib.contextmanager
def _exported(library, folder, model, *options):
    """A web host with the page of a model; yields its address and the model's file."""
    write_exported(folder / "model.safetensors", model)
    words = ("export", folder / "model.safetensors", folder / "page", "--format", "web", *options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_page, "read_library", lambda: library)
        assert main([*map(str, words)]) == 0
    with _serve(folder / "page") as address:
        yield address, folder / "model.safetensors"


@pytest.fixture(scope="module")
def tinted(library, tmp_path_factory):
    """The page of a network in 8 bits that tints images and follows hints."""
    model = follower()
    head = model.network.head
    with torch.no_grad():
        head.conv.bias[:] = (head.bins.centers - torch.tensor([25.0, 35])).square().sum(1) / -40
    options = ("--int8", bundled("photographs"))
    with _exported(library, tmp_path_factory.mktemp("tinted"), model, *options) as page:
        yield page


@pytest.fixture(scope="module")
def draws(library, tmp_path_factory):
    """The page of a network that samples."""
    # Three steps are too few for an estimate, which the test would take for the coloring.
    folder = tmp_path_factory.mktemp("draws")
    with _exported(library, folder, follower(draws=True), "--steps", "3") as page:
        yield page


@pytest.fixture
def photograph(tmp_path):
    return write_photograph(tmp_path / "ramp.png", 650, 520)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("device", [DESK, PHONE])
def test_a_photograph_is_colored_in_the_browser(visit, tinted, photograph, device):
    address, file = tinted
    page = visit(address, **device)
    page.set_input_files("input[type=file]", photograph)
    page.wait_for_selector("[data-part=save]", timeout=120_000)
    with page.expect_download() as download:
        page.click("[data-part=save]")
    assert download.value.suggested_filename == "ramp-color.png"
    colored = np.asarray(Image.open(download.value.path()).convert("RGB"), dtype=int)
    expected = np.asarray(load_model(file).colorize(photograph), dtype=int)
    assert colored.shape == expected.shape
    assert (np.abs(colored - expected).max(-1) <= 2).mean() > 0.999
    assert np.ptp(colored, axis=-1).mean() > 10  # in color
    slider = page.locator("[data-part=cut]")
    slider.focus()
    for key, is_colored in (("End", False), ("Home", True)):
        slider.press(key)
        shown = np.asarray(Image.open(io.BytesIO(page.locator(".compare").screenshot())), dtype=int)
        assert (np.ptp(shown[..., :3], axis=-1).mean() > 1) == is_colored


@pytest.mark.browser
@pytest.mark.slow
def test_another_file_is_refused_and_the_next_one_colored(visit, tinted, photograph, tmp_path):
    Quiet.loads.clear()
    page = visit(tinted[0], bypass_csp=True, **DESK)
    (tmp_path / "text.jpg").write_text("no image")
    page.set_input_files("input[type=file]", tmp_path / "text.jpg")
    refusal = "text=text.jpg is not an image that this browser can read"
    page.wait_for_selector(refusal)
    Quiet.loads.set()
    page.wait_for_function("stage === ''", timeout=120_000)  # the model is loaded
    assert page.locator(refusal).count() == 1
    page.set_input_files("input[type=file]", photograph)
    page.wait_for_selector("[data-part=save]", timeout=120_000)
    Image.new("L", (70_000, 20)).save(tmp_path / "long.png")  # beyond the canvas of any browser
    page.set_input_files("input[type=file]", tmp_path / "long.png")
    page.wait_for_selector("text=32767 x 9 pixels in", timeout=120_000)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tinted", "draws"])
def test_colors_are_painted_in_the_browser(visit, name, tmp_path, request):
    page = visit(request.getfixturevalue(name)[0], **DESK)
    # tests/commands/test_demo.py paints with fingers and keys too, in the same script.
    paint_on(page, write_photograph(tmp_path / "ramp.png"), "mouse", name == "draws", tmp_path)


@pytest.mark.browser
@pytest.mark.slow
def test_a_photograph_is_colored_like_a_reference_in_the_browser(visit, tinted, tmp_path):
    address, file = tinted
    coffee = Image.open(bundled("photographs") / "coffee.jpg").convert("RGB")
    coffee.convert("L").save(tmp_path / "grey.png")
    ImageOps.mirror(coffee.crop((0, 40, *coffee.size))).save(tmp_path / "like.png")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "tiny.png")
    page = visit(address, **DESK)
    page.set_input_files("[data-part=file]", tmp_path / "grey.png")
    page.get_by_text("pixels in").wait_for(timeout=120_000)
    own = page.evaluate(CANVAS)
    for useless, message in (
        (tmp_path / "grey.png", "Not used: the reference image is grey"),
        (tmp_path / "tiny.png", "Not used: the reference image is smaller than 16 pixels"),
        (bundled("photographs") / "cat.jpg", "Not used: nothing corresponds to the reference"),
    ):
        page.set_input_files("[data-part=reference]", useless)
        page.get_by_text(message).wait_for(timeout=60_000)
        assert page.evaluate(CANVAS) == own
    page.set_input_files("[data-part=reference]", tmp_path / "like.png")
    page.wait_for_function(f"own => {CANVAS} !== own", arg=own)
    with page.expect_download() as download:
        page.click("[data-part=save]")
    colored = np.asarray(Image.open(download.value.path()).convert("RGB"), dtype=int)
    reference = tmp_path / "like.png"
    expected = load_model(file).colorize(tmp_path / "grey.png", reference=reference)
    difference = np.abs(colored - np.asarray(expected, dtype=int)).max(-1)
    assert (difference <= 4).mean() > 0.9  # browsers reduce images by other filters
    alike = page.evaluate(CANVAS)
    box = page.locator("[data-part=layer]").bounding_box()
    place = {"x": 0.1 * box["width"], "y": 0.5 * box["height"]}
    page.locator("[data-part=layer]").click(position=place)
    page.locator("[data-part=hues] button").nth(9).click()
    page.wait_for_function(f"alike => {CANVAS} !== alike", arg=alike)
    red, _, blue = color_at(page, 0.1, 0.5)
    assert blue > red + 40
    page.click("[data-part=undo]")
    page.click("[data-part=without]")
    page.wait_for_function(f"own => {CANVAS} === own", arg=own)


# Graphs by hand: noise goes to 0 and a to 38 in 8 steps; the hints' sum adds a hundredth.
RUNTIME = r"""
export const env = { wasm: {} };
export class Tensor {
  constructor(type, data, dims) { Object.assign(this, { type, data, dims, size: data.length }); }
}
const tensor = (data, dims) => new Tensor("float32", Float32Array.from(data), dims);
const sum = data => data.reduce((a, b) => a + b);
const graphs = {
  before: () => ({ L: tensor(Array(320).fill(50), [1, 1, 16, 20]) }),
  encoder: ({ hints: { data } }) => ({
    context: tensor([0], [1, 1, 1, 1]),
    ab_mean: tensor([sum(data.slice(0, 320)) / 100, 0], [1, 2, 1, 1]),
    ab_spread: tensor([1, 1], [1, 2, 1, 1]),
  }),
  denoiser: ({ x, time: { data: [t] } }) => ({
    prediction: tensor(x.data.map(v => 400 * t * t - v / (1 - t)), x.dims),
  }),
  after: ({ ab, image }) => ({ colored: { data: Array(image.size).fill(128 + ab.data[0]) } }),
};
export const InferenceSession = {
  create: async given => {
    const name = given.length ? given.match(/(\w+)\.onnx/)[1] : new TextDecoder().decode(given);
    return { run: async feeds => graphs[name](feeds) };
  },
};
"""
# Appends what is drawn as the coloring, and the samples once they are up to date, to `shown`.
RECORD = """() => {
  window.shown = [];
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (image, ...rest) {
    if (this.canvas.dataset.part === "colored") shown.push(image.data[0]);
    this.canvas.value = image.data[0];
    put.call(this, image, ...rest);
  };
  const samples = document.querySelector("[data-part=samples]");
  new MutationObserver(() => {
    const values = [...samples.querySelectorAll("canvas")].map(canvas => canvas.value);
    shown.push(samples.ariaBusy === "true" ? "stale" : values.join());
  }).observe(samples, { attributes: true });
}"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The folder of a page whose network is written by hand."""
    folder = tmp_path_factory.mktemp("quick")
    settings = {"size": 16, "hints": True, "draws": True, "inputs": ["L", "hints"], "steps": 8}
    settings |= {"reference": False, "guidance": 1, "variety": 1, "strength": 1, "centers": None}
    graphs = {"model.encoder": "encoder", "model.denoiser": "denoiser", "after": "after"}
    files = {"ort.wasm.min.mjs": RUNTIME} | {f"{name}.onnx": graphs[name] for name in graphs}
    files = {name: text.encode() for name, text in files.items()}
    web_page.write_web_page(folder, files, "a model", settings)
    return folder


@pytest.mark.browser
def test_painting_shows_an_estimate_first_and_replaces_the_samples(visit, quick, photograph):
    with _serve(quick) as address:
        page = visit(address, **DESK)
        page.evaluate(RECORD)
        page.set_input_files("[data-part=file]", photograph)
        samples = page.locator("[data-part=samples][aria-busy=false] canvas")
        samples.nth(3).wait_for()
        # 2 of 8 steps point to 7 * 400 / 64 / 8; the last one ends at 400 / 8 * (7 / 8)**2.
        assert page.evaluate("shown") == ["stale", 133, 166, "166,166,166,166"]
        page.locator("[data-part=layer]").click()
        page.locator("[data-part=probable] button").first.wait_for()
        page.evaluate("shown.length = 0")
        page.locator("[data-part=hues] button").first.click()  # a of 50: 25 pixels add 12.5
        page.wait_for_function("() => shown.at(-1) === '179,179,179,179'")
        assert page.evaluate("shown") == ["stale", 146, 179, "179,179,179,179"]


@pytest.mark.browser
def test_the_page_says_what_a_photograph_waits_for(visit, quick, photograph, monkeypatch):
    loaded, get = threading.Event(), Quiet.do_GET

    def held(self):
        if "denoiser" in self.path:
            loaded.wait(30)
        get(self)

    monkeypatch.setattr(Quiet, "do_GET", held)
    with _serve(quick) as address:
        page = visit(address, **DESK)
        page.get_by_text("Loading the model …").wait_for()
        page.set_input_files("[data-part=file]", photograph)
        assert page.inner_text("[data-part=status]") == "Loading the model …"
        loaded.set()
        page.get_by_text("pixels in").wait_for()


@pytest.mark.browser
def test_a_page_opened_as_a_file_names_the_command_that_serves_it(visit, quick):
    page = visit(quick / "index.html", **DESK)
    assert "python -m http.server" in page.inner_text("[data-part=status]")
    assert not page.is_visible("[data-part=drop]")


def test_the_library_is_an_installed_one_or_fetched_in_one_version(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"npm install onnxruntime-web"):
        read_library()
    npm = tmp_path / "npm"
    for script, message in (
        ('echo "$@" >&2\nexit 1', r"onnxruntime-web@1\.\d+\.\d+;"),
        ("exec /bin/sleep 60", r"timed out after 0\.5 seconds"),
    ):
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        monkeypatch.setattr(web_page, "_SECONDS", 0.5)
        with pytest.raises(UsageError, match=message):
            read_library()
    installed = tmp_path / "node_modules/onnxruntime-web/dist"
    installed.mkdir(parents=True)
    for name in web_page._FILES:
        (installed / name).write_bytes(name.encode())
    assert read_library() == {name: name.encode() for name in web_page._FILES}
