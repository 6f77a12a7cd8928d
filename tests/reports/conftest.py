"""Pages in a real browser: Debian's Chromium, driven by Playwright's Python library."""

import shutil
from urllib.parse import urljoin

import pytest

PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
    "color_scheme": "dark",
}
DESK = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="module")
def browser():
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is missing")
    with playwright_api.sync_playwright() as playwright:
        # Containers have no user namespaces for Chromium's sandbox.
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Opens a page, which may not fail, warn or request anything from another site."""
    failures, contexts = [], []

    def call(path, **options):
        """Open a file, or an address of this machine."""
        address = path if isinstance(path, str) else path.as_uri()
        own = (urljoin(path, "/") if isinstance(path, str) else "file:", "data:", "blob:")
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda message: failures.append(f"{message.type}: {message.text}"))
        page.on("requestfailed", lambda request: failures.append(f"failed: {request.url[:80]}"))
        page.on(
            "request", lambda request: request.url.startswith(own) or failures.append(request.url)
        )
        page.goto(address, timeout=120_000)
        return page

    yield call
    for context in contexts:
        context.close()
    assert failures == []
