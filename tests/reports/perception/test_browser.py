"""The comparison and the study in a real browser, from the first click to the score."""

import json

import pytest
from PIL import Image, ImageEnhance

from lightning_colorize.cli import main
from lightning_colorize.reports.perception import study as study_module
from tests.reports.conftest import DESK, PHONE
from tests.reports.perception.simulated import write_page

pytestmark = pytest.mark.browser

READY = "shownAt !== null && performance.now() - shownAt > MIN_DELAY"


@pytest.fixture(scope="module")
def pages(finished_run, photo_folder, tmp_path_factory):
    """The folder with both pages, of three systems on five images; a study of 18 pairs."""
    folder = tmp_path_factory.mktemp("pages")
    theirs = folder / "theirs"
    theirs.mkdir()
    for file in (photo_folder / "val").iterdir():
        paler = ImageEnhance.Color(Image.open(file)).enhance(0.7)
        paler.save(theirs / f"{file.stem}.png")
    systems = [f"cnn={finished_run}", f"gan={finished_run}", f"theirs={theirs}"]
    words = ("--data", photo_folder, "--split", "val", "--out", folder / "page", "--study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "TRIALS", 6)
        assert main(["compare", *systems, *map(str, words)]) == 0
    return folder / "page"


@pytest.fixture
def study_page(tmp_path):
    """A folder with a study page of made images."""
    write_page(tmp_path / "page")
    return tmp_path / "page"


def _part(page, name):
    return page.locator(f"[data-part={name}]")


def _wait(page, condition):
    """Wait for a condition; the policy of a served page refuses Playwright's own way."""
    for _ in range(500):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def _begin(page):
    """Show the first pair."""
    _part(page, "begin").click()
    _part(page, "go").click()


def _shown(page):
    return [_part(page, side).locator("img").get_attribute("src") for side in ("left", "right")]


def _answer(page, count, choose):
    """Answer pairs; `choose` returns a side for the left and the right file."""
    for _ in range(count):
        _wait(page, f"{READY} || part('go').offsetParent !== null")
        if _part(page, "go").is_visible():
            _part(page, "go").click()
            _wait(page, READY)
        before = page.evaluate("done()")
        _part(page, choose(*_shown(page))).tap()
        hidden = "document.querySelector('[data-screen=trial]').hidden"
        _wait(page, f"done() > {before} && (shownAt !== null || {hidden})")


def _fits(page, device):
    """Return whether a pair is as wide and high as the screen at most."""
    right, bottom = device["viewport"].values()
    box = _part(page, "right").bounding_box()
    whole = page.evaluate("document.documentElement.scrollWidth")
    return max(whole, box["x"] + box["width"]) <= right and box["y"] + box["height"] <= bottom


def test_participant_answers_and_is_scored(command, visit, pages, tmp_path, capsys):
    page = visit(pages / "study.html", **PHONE)
    study = json.loads(page.locator("#study").text_content())
    # Somebody who recognizes the truth and otherwise prefers `theirs`.
    rank = ["truth", "theirs", "cnn", "gan", "broken"]
    place = {}
    for image in study["images"]:
        of_system = dict(zip(study["systems"], image["systems"], strict=True))
        place |= {(image | of_system)[name]: index for index, name in enumerate(rank)}

    def choose(left, right):
        return "left" if place[left] < place[right] else "right"

    assert "18 pairs" in page.locator("main").inner_text()
    _part(page, "begin").click()
    _answer(page, 4, choose)
    assert _part(page, "count").inner_text() == "5 of 18"
    assert _fits(page, PHONE)
    sizes = page.locator(".pair img").evaluate_all(
        "all => all.map((image) => Math.min(image.clientWidth / image.naturalWidth,"
        " image.clientHeight / image.naturalHeight)"
        " * Math.max(image.naturalWidth, image.naturalHeight))"
    )
    assert min(sizes) > 0.55 * PHONE["viewport"]["width"]

    # Answers outlive a reload, and the same pairs follow.
    pair = _shown(page)
    page.reload()
    assert _part(page, "resume").inner_text() == "Resume (4 of 18)"
    _part(page, "resume").click()
    _wait(page, "shownAt !== null")
    assert _shown(page) == pair
    _answer(page, 14, choose)

    assert "You recognized the real photograph in 6 of 6 pairs" in page.inner_text("main")
    with page.expect_download() as download:
        _part(page, "save").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    answers = json.loads(file.read_text())
    assert answers == json.loads(_part(page, "text").input_value())
    assert len(answers["trials"]) == 18
    assert answers["checks"] == {"passed": 6, "of": 6}
    assert all(trial["milliseconds"] >= 250 for trial in answers["trials"])
    assert {trial["answer"] for trial in answers["trials"]} == {"left", "right"}

    capsys.readouterr()
    rates = tmp_path / "rates.json"
    assert command("study", "score", file, "--json", rates) == 0
    assert "1 participant, 12 answers" in capsys.readouterr().out
    scored = json.loads(rates.read_text())["rates"]
    for name in study["systems"]:
        assert (scored["fooling"][name]["chosen"], scored["fooling"][name]["trials"]) == (0, 2)
    theirs = scored["preference"]["theirs"]
    assert (theirs["chosen"], theirs["trials"]) == (4, 4)


def test_a_press_for_the_previous_pair_does_not_count(visit, study_page):
    page = visit(study_page / "study.html", **DESK)
    _begin(page)
    _wait(page, "shownAt !== null")
    assert _fits(page, DESK)
    page.evaluate("shownAt = performance.now(); answer('left'); answer('left')")
    assert page.evaluate("done()") == 0
    assert _part(page, "early").inner_text().startswith("Too fast to count")
    page.wait_for_timeout(300)
    page.evaluate("answer('left')")
    assert _part(page, "early").text_content() == ""
    page.evaluate("answer('right')")  # while the choice is still shown
    _wait(page, "shownAt !== null")
    assert [answer["answer"] for answer in page.evaluate("state.answers")] == ["left"]
    assert _part(page, "early").inner_text().startswith("Too fast to count")


def test_enter_and_arrows_are_enough_and_deleting_needs_a_confirmation(visit, study_page):
    page = visit(study_page / "study.html", **DESK)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    _wait(page, READY)
    page.keyboard.press("Enter")  # chooses nothing
    page.keyboard.press("Alt+ArrowLeft")  # a browser's own
    assert page.evaluate("done()") == 0
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("done()") == 1
    page.reload()
    for action, left in (("dismiss", 1), ("accept", 0)):
        page.once("dialog", lambda dialog, action=action: getattr(dialog, action)())
        _part(page, "begin").click()
        assert page.evaluate("done()") == left


def test_the_comparison_sorts_its_table(visit, pages):
    page = visit(pages / "index.html", **DESK)
    page.evaluate("delete Element.prototype.ariaSort")  # which not all browsers have
    names = page.locator(".sortable tbody th")
    head = page.get_by_role("button", name="ciede2000")
    assert names.first.inner_text().startswith("cnn")
    head.click()
    assert names.first.inner_text().startswith("theirs")
    heads = page.locator(".sortable thead th")
    assert heads.and_(page.locator("[aria-sort=none]")).count() == heads.count() - 2
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("ciede2000")
    head.click()
    assert names.last.inner_text().startswith("theirs")
    head.click()
    assert names.first.inner_text().startswith("cnn")


def test_the_comparison_on_a_phone_and_without_scripts(visit, pages):
    page = visit(pages / "index.html", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_text("by images seen").click()
    # Plotly resizes a chart a moment after it is shown.
    charts = "[...document.querySelectorAll('.axis-2 svg.main-svg')]"
    fit = "(svg) => svg.clientWidth > 200 && svg.clientWidth <= 360"
    _wait(page, f"{charts}.length >= 4 && {charts}.every({fit})")
    assert not page.locator(".axis-1 svg").first.is_visible()
    hint, box = page.locator("#metrics .hint"), page.locator("#metrics .scroll").bounding_box()
    assert hint.is_visible()
    assert hint.bounding_box()["y"] < box["y"]
    plain = visit(pages / "index.html", java_script_enabled=False)
    assert plain.locator("#metrics td").first.is_visible()


def test_a_pair_of_missing_files_is_shown_once_they_are_there(browser, study_page):
    here, elsewhere = study_page / "study", study_page / "elsewhere"
    here.rename(elsewhere)
    with browser.new_context(**DESK) as context:
        page = context.new_page()
        page.goto((study_page / "study.html").as_uri())
        _begin(page)
        _wait(page, "part('notice').textContent.startsWith('An image does not load')")
        assert _part(page, "notice").is_visible()
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(300)
        assert page.evaluate("[shownAt, done()]") == [None, 0]
        elsewhere.rename(here)
        _wait(page, READY)
        widths = page.locator(".pair img").evaluate_all("all => all.map((i) => i.naturalWidth)")
        assert widths == [24, 24]
        assert _part(page, "notice").text_content() == ""
        page.keyboard.press("ArrowLeft")
        _wait(page, "done() === 1 && shownAt !== null")
