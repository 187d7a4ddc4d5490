"""A headless browser for tests of pages."""

import shutil
import subprocess
from html.parser import HTMLParser

import pytest

_FLAGS = (
    "--headless --no-sandbox --disable-gpu-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=20000 --dump-dom"
)


class Elements(HTMLParser):
    """Tags of a page with their attributes, in order."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def opened(page, profile):
    """The elements of a page after its scripts have run; skips where there is no browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no chromium or chrome on PATH to open the page with")
    command = [browser, *_FLAGS.split(), f"--user-data-dir={profile}", page.as_uri()]
    return Elements(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout).found
