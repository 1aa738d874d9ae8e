"""A real browser, without a window: Debian's Chromium, driven by Playwright.

Pictures are kept in the folder that TWOTOWER_SCREENSHOTS names, if it is set.
"""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium():
    """A running Chromium. Where there is none, the test is skipped; in CI it fails."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium. Debian: apt install chromium")
        pytest.skip("needs Chromium. Debian: apt install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def kept(page, name, otherwise):
    """Keeps a picture of the whole page as `name`.png, in the folder `otherwise` unless TWOTOWER_SCREENSHOTS is set."""
    folder = Path(os.environ.get("TWOTOWER_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
