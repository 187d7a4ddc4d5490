"""A headless browser for tests of pages."""

import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from gridless.viewer.screenshot import BROWSERS, HEADLESS_FLAGS


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
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no chromium or chrome on PATH to open the page with")
    command = [
        browser,
        *HEADLESS_FLAGS.split(),
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"--user-data-dir={profile}",
        page.as_uri(),
    ]
    return Elements(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout).found
