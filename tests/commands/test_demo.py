"""The page of `demo` in a real browser."""

import contextlib
import http.client
import io
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data

from lightning_colorize.common.bundled import bundled
from lightning_colorize.inference import load_model
from tests.distributed.launchers import free_port
from tests.painters import CANVAS, paint_across, paint_on, write_follower, write_photograph
from tests.reports.conftest import DESK, PHONE, browser  # noqa: F401


@contextlib.contextmanager
def _serve(folder, *words):
    """Start the command; yield its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_colorize", "demo", *words, "--port", str(port)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield re.search(r"http://\S+", process.stdout.readline())[0]
    finally:
        process.terminate()  # a process in the background may ignore SIGINT
        assert process.communicate(timeout=60) == ("", "loading the model ...\n")
        assert process.returncode == 143


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("demo")
    (folder / "secret.txt").write_text("secret")
    names = ("--checkpoint", "one=default", "--checkpoint", "two=default")
    with _serve(folder, *names, "--max-megapixels", "1") as address:
        yield address


@contextlib.contextmanager
def _visit(browser, address, **device):  # noqa: F811
    """Open the page, which may not fail or request anything from another site."""
    context = browser.new_context(**(device or DESK))
    page = context.new_page()
    failures = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    own = (address.removesuffix("/paint"), "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(own) or failures.append(request.url))
    page.goto(address, timeout=120_000)
    yield page
    context.close()
    assert failures == []


@pytest.fixture
def page(browser, address):  # noqa: F811
    with _visit(browser, address) as page:
        yield page


def _write_grey(file, repeats=1):
    pixels = np.tile(data.coffee()[::2, ::2], (repeats, repeats, 1))
    Image.fromarray(pixels).convert("L").save(file)
    return file


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_models_color_side_by_side_and_answer_to_the_sliders(page, tmp_path):
    page.set_input_files("input[type=file]", _write_grey(tmp_path / "coffee.png"))
    shown = page.locator("[data-testid=imageslider] img, .slider-wrap img")
    shown.nth(3).wait_for(timeout=60_000)
    first = shown.nth(1).get_attribute("src")
    slider = page.get_by_label("range slider for Vividness")
    slider.focus()
    slider.press("End")
    page.wait_for_function(
        "first => [...document.querySelectorAll('img')].every(image => image.src !== first)",
        arg=first,
    )
    page.get_by_text("Save the images at full size").click()
    link = page.get_by_role("link", name=re.compile("KB")).nth(1)  # the first is the upload
    with page.expect_download() as download:
        link.click(timeout=60_000)
    assert download.value.suggested_filename == "coffee-one.png"
    model = load_model("default")
    model.set_decoding(vividness=1)
    expected = np.asarray(model.colorize(tmp_path / "coffee.png"), dtype=int)
    colored = np.asarray(Image.open(download.value.path()), dtype=int)
    assert np.abs(colored - expected).max() <= 1


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_model_colors_and_its_photograph_is_removed(browser, tmp_path):  # noqa: F811
    pytest.importorskip("gradio")
    source = _write_grey(tmp_path / "coffee.png")
    with _serve(tmp_path) as address, _visit(browser, address) as page:
        page.set_input_files("input[type=file]", source)
        shown = page.locator("[data-testid=imageslider] img, .slider-wrap img")
        shown.nth(1).wait_for(timeout=60_000)
        grey, colored = (
            np.asarray(Image.open(io.BytesIO(urllib.request.urlopen(url).read())).convert("RGB"))
            for url in (shown.nth(n).get_attribute("src") for n in range(2))
        )
        assert grey.shape == colored.shape
        assert np.ptp(grey, axis=-1).mean() < 1
        assert np.ptp(colored, axis=-1).mean() > 10
        page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
        shown.first.wait_for(state="detached", timeout=60_000)
        assert page.get_by_text("Error", exact=True).count() == 0


@pytest.mark.browser
@pytest.mark.slow
def test_what_cannot_be_colored_is_refused_on_the_page(page, tmp_path):
    page.set_input_files("input[type=file]", _write_grey(tmp_path / "coffee.png"))
    shown = page.locator("[data-testid=imageslider] img, .slider-wrap img")
    shown.nth(3).wait_for(timeout=60_000)
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
    (tmp_path / "text.jpg").write_text("no image")
    for name, message in (("large.png", "megapixels; the maximum is 1"), ("text.jpg", "cannot be")):
        if name == "large.png":
            _write_grey(tmp_path / name, 5)
        page.set_input_files("input[type=file]", tmp_path / name)
        page.get_by_text(message).first.wait_for(timeout=60_000)
        page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
    page.get_by_text("Save the images at full size").click()
    page.get_by_text("Choose a photograph first").wait_for(timeout=60_000)
    assert shown.count() == 0


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_photograph_is_colored_like_a_reference(page, tmp_path):
    source, reference = _write_grey(tmp_path / "coffee.png"), tmp_path / "like #1.png"
    ImageOps.mirror(Image.fromarray(data.coffee()[::2, ::2])).save(reference)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "tiny.png")
    useless = {
        source: r"Not used: the reference (image|coffee\.png) is grey; give a color photograph",
        tmp_path / "tiny.png": r"Not used: the reference (image|tiny\.png) is smaller than 16",
        bundled("photographs") / "cat.jpg": "Not used: nothing corresponds to the reference",
    }
    page.set_input_files("input[type=file] >> nth=0", source)
    page.locator(".slider-wrap img").nth(3).wait_for(timeout=60_000)
    shown = "[...document.querySelectorAll('.slider-wrap img')].map(image => image.src)"
    own = page.evaluate(shown)  # each name has the hash of its file
    for file, message in useless.items():
        page.set_input_files("input[type=file]", file)
        page.get_by_text(re.compile(message)).first.wait_for(timeout=60_000)
        assert page.evaluate(shown) == own
        page.get_by_label("Remove").or_(page.get_by_label("Clear")).last.click()
    page.set_input_files("input[type=file]", reference)
    page.wait_for_function(f"own => ({shown}).every((src, i) => i % 2 ^ src === own[i])", arg=own)
    page.get_by_text("Save the images at full size").click()
    with page.expect_download() as download:  # the first two are the uploads
        page.get_by_role("link", name=re.compile("KB")).nth(2).click(timeout=60_000)
    expected = np.asarray(load_model("default").colorize(source, reference=reference), dtype=int)
    colored = np.asarray(Image.open(download.value.path()), dtype=int)
    assert np.abs(colored - expected).max() <= 1
    paint = page.locator("a", has_text="Choose colors yourself").get_attribute("href")
    page.get_by_label("Remove").or_(page.get_by_label("Clear")).nth(1).click()
    page.wait_for_function(f"own => ({shown}).every((src, i) => src === own[i])", arg=own)
    page.goto(f"{page.url}{paint}")
    page.locator("[data-part=without]").wait_for(timeout=60_000)
    page.evaluate("queue")  # computes one after another
    page.get_by_text("pixels in").wait_for(timeout=60_000)
    alike = page.evaluate(CANVAS)
    page.click("[data-part=without]")
    page.wait_for_function(f"before => {CANVAS} !== before", arg=alike)
    own = page.evaluate(CANVAS)
    for file, message in useless.items():
        page.set_input_files("[data-part=reference]", file)
        page.get_by_text(re.compile(message)).wait_for(timeout=60_000)
        assert page.evaluate(CANVAS) == own
        assert not page.is_visible("[data-part=without]")
    page.set_input_files("[data-part=reference]", reference)
    page.wait_for_function(f"before => {CANVAS} === before", arg=alike)
    page.keyboard.press("Control+z")
    page.wait_for_function(f"before => {CANVAS} === before", arg=own)


@pytest.fixture(scope="module", params=[False, True], ids=["follows", "draws"])
def painting(tmp_path_factory, request):
    """The address of the painting page, and whether its model draws samples."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("painting")
    model = write_follower(folder / "follower.safetensors", request.param)
    with _serve(folder, "--checkpoint", str(model), "--max-megabytes", "8") as address:
        yield f"{address}/paint", request.param


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_colors_are_painted_on_the_server(browser, painting, tmp_path):  # noqa: F811
    address, draws = painting
    photograph = write_photograph(tmp_path / "ramp.png", 1300, 1040)
    for by, device in (("mouse", DESK), ("finger", PHONE), ("keyboard", DESK)):
        with _visit(browser, address, **device) as page:
            paint_on(page, photograph, by, draws, tmp_path)


@pytest.mark.browser
@pytest.mark.slow
def test_the_painting_page_opens_the_photograph_of_the_demo(browser, painting, tmp_path):  # noqa: F811
    address = painting[0].removesuffix("/paint")
    with _visit(browser, address, **PHONE) as page:
        page.set_input_files("input[type=file]", _write_grey(tmp_path / "a #1 é.png"))
        page.locator(".slider-wrap").wait_for(timeout=60_000)
        top = page.locator(".slider-wrap").bounding_box()["y"]
        assert top < page.get_by_text("Choose colors yourself").bounding_box()["y"]
        assert page.get_by_text("Files", exact=True).count() == 0
        page.locator("a[href*='#']", has_text="Choose colors yourself").click()
        page.get_by_text("300 x 200 pixels in").wait_for(timeout=60_000)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_long_photographs_are_painted_on_the_server(browser, painting, tmp_path):  # noqa: F811
    address, draws = painting
    photograph = write_photograph(tmp_path / "ramp.png", *((3941, 400) if draws else (400, 4000)))
    with _visit(browser, address, **DESK) as page:
        paint_across(page, photograph)
        larger = write_photograph(tmp_path / "larger.png", 1640, 1100)  # than a fifth of 8 MB
        page.set_input_files("[data-part=file]", larger)
        page.get_by_text("Reduced to 1556 x 1044 pixels in").wait_for(timeout=60_000)


@pytest.mark.slow
def test_the_painting_page_is_for_itself_only(painting):
    address, _ = painting

    def post(length="3", body=b"{}\n", **headers):
        """Return the status; a server may answer before the body."""
        connection = http.client.HTTPConnection(address.split("/")[2], timeout=20)
        headers = {"Content-Length": length, **headers}
        connection.putrequest("POST", "/paint", skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse().status

    assert post() == 400
    assert post(**{"Sec-Fetch-Site": "cross-site"}) == 403
    assert post(Host="elsewhere.example") == 400
    assert post(str(9 * 2**20), b"") == 413
    assert post("9" * 5000, b"") in (400, 413)
    assert post(**{"Transfer-Encoding": "chunked"}) in (400, 411)


@pytest.mark.slow
def test_the_server_refuses_other_sites_and_paths(address):
    def status(path="", body=None, **headers):
        request = urllib.request.Request(f"{address}{path}", body, headers)
        try:
            return urllib.request.urlopen(request).status
        except urllib.error.HTTPError as error:
            return error.code

    def upload(site):
        head = b'Content-Disposition: form-data; name="files"; filename="a"'
        kind = {"Content-Type": "multipart/form-data; boundary=x", "Sec-Fetch-Site": site}
        return status("/gradio_api/upload", b"--x\r\n" + head + b"\r\n\r\na\r\n--x--\r\n", **kind)

    assert status(Host="elsewhere.example") == 400
    assert (upload("same-origin"), upload("cross-site")) == (200, 403)
    for path in ("/etc/hostname", "../../etc/hostname", "secret.txt"):
        assert status(f"/gradio_api/file={path}") in (403, 404)
    # A malformed request is not logged.
    with socket.create_connection(address.removeprefix("http://").split(":")) as connection:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
