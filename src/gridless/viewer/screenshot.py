"""A picture of a page without a screen."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gridless.io.atomic import replaced_when_complete
from gridless.viewer.cloud_page import CloudPage

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HEADLESS_FLAGS = (
    "--headless --no-sandbox --disable-gpu-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
_GROUND = 255
_STILL = 1.0


def write_screenshot(
    page: CloudPage, path: Path, width: int = 1280, height: int = 800, query: str = "", timeout: float = 120.0
) -> None:
    """Open a page in a headless browser and write the cloud, once all its points are there, as PNG.

    Args:
        page: what to show.
        path: the PNG file.
        width: of the picture in pixels.
        height: of the picture in pixels.
        query: of the address, as in a link to a view: ``initialCameraPosition=1,2,3&…``.
        timeout: seconds to wait for the browser.

    Raises:
        FileNotFoundError: no Chromium or Chrome is installed, or the folder of ``path`` does not exist.
        ChildProcessError: the browser ended before it showed the page.
        TimeoutError: the browser did not show the page in time.
    """
    import imageio.v3

    browser = require_browser()
    page.draw_all()
    with tempfile.TemporaryDirectory() as profile, replaced_when_complete(path) as temporary:
        address = f"{page.server.address}?{query}"
        command = [
            browser,
            *HEADLESS_FLAGS.split(),
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            address,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + timeout
            _wait(page.is_settled, deadline, process)
            client = next(iter(page.server.viser.get_clients().values()))
            remaining = max(1.0, deadline - time.monotonic())
            picture = client.get_render(height, width, transport_format="png", timeout=remaining)
        finally:
            process.terminate()
            process.wait(10)
        imageio.v3.imwrite(temporary, _on_ground(picture), extension=".png")


def require_browser() -> str:
    """The program that takes pictures.

    Raises:
        FileNotFoundError: no Chromium or Chrome is installed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"a screenshot needs a browser: none of {', '.join(BROWSERS)} is installed")
    return browser


def _wait(is_settled: Callable[[], bool], deadline: float, browser: subprocess.Popen[bytes]) -> None:
    """Until nothing has moved for a second: the browser first tells a camera of its own, then takes the page's."""
    since = time.monotonic()
    while time.monotonic() - since < _STILL:
        if browser.poll() is not None:
            raise ChildProcessError(f"the browser ended with {browser.returncode} before it showed the page")
        if time.monotonic() > deadline:
            raise TimeoutError("the browser did not show the page in time")
        time.sleep(0.02)
        if not is_settled():
            since = time.monotonic()


def _on_ground(picture: Any) -> Any:
    """RGBA on white as RGB."""
    share = picture[..., 3:] / 255
    return (picture[..., :3] * share + _GROUND * (1 - share)).round().astype(np.uint8)
