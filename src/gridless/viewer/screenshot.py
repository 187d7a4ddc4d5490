"""A picture of a page without a screen."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
from numpy.typing import NDArray

from gridless.io.atomic import replaced_when_complete
from gridless.viewer.cloud_page import CloudPage

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HEADLESS_FLAGS = (
    "--headless --no-sandbox --disable-gpu-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
_GROUND = 255


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
        ValueError: a vector of the query is not three numbers.
        ChildProcessError: the browser ended before it showed the page.
        TimeoutError: the browser did not show the page in time.
    """
    import imageio.v3

    browser = require_browser()
    page.draw_all()
    first = page.server.viser.initial_camera
    camera = {"initialCameraPosition": first.position, "initialCameraLookAt": first.look_at} | given_camera(query)
    # all of it in the address: with a part of it there, viser's page does not move to the rest
    told = dict(parse_qsl(query)) | {name: ",".join(map(str, vector.tolist())) for name, vector in camera.items()}
    with tempfile.TemporaryDirectory() as profile, replaced_when_complete(path) as temporary:
        address = f"{page.server.address}?{urlencode(told, safe=',')}"
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
            _wait(lambda: page.shows(camera["initialCameraPosition"], camera["initialCameraLookAt"]), deadline, process)
            client = next(iter(page.server.viser.get_clients().values()))
            picture = _settled_render(client, width, height, deadline)
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


def given_camera(query: str) -> dict[str, NDArray[np.float64]]:
    """Where the camera of an address is and what it looks at, as far as the address says it.

    Raises:
        ValueError: one of them is not three numbers.

    Example:
        >>> given_camera("initialCameraPosition=1,2,3")
        {'initialCameraPosition': array([1., 2., 3.])}
    """
    camera = {}
    for name, text in parse_qsl(query):
        if name in ("initialCameraPosition", "initialCameraLookAt"):
            try:
                vector = [float(part) for part in text.split(",")]
            except ValueError:
                vector = []
            if len(vector) != 3 or not all(map(math.isfinite, vector)):
                raise ValueError(f"camera: {name} must be three numbers as in 1,2,3, got {text!r}")
            camera[name] = np.array(vector)
    return camera


def _wait(is_shown: Callable[[], bool], deadline: float, browser: subprocess.Popen[bytes]) -> None:
    """Until the page is shown: the browser first tells a camera of its own, then takes the page's."""
    while not is_shown():
        if browser.poll() is not None:
            raise ChildProcessError(f"the browser ended with {browser.returncode} before it showed the page")
        if time.monotonic() > deadline:
            raise TimeoutError("the browser did not show the page in time")
        time.sleep(0.02)


def _settled_render(client: Any, width: int, height: int, deadline: float) -> Any:
    """A picture that two renders agree on: the browser draws new points once before it gives them their size."""
    last = np.empty(0)
    while (remaining := deadline - time.monotonic()) > 0:
        picture = client.get_render(height, width, transport_format="png", timeout=remaining)
        if np.array_equal(picture, last):
            return picture
        last = picture
    raise TimeoutError("the browser did not show the page in time")


def _on_ground(picture: Any) -> Any:
    """RGBA on white as RGB."""
    share = picture[..., 3:] / 255
    return (picture[..., :3] * share + _GROUND * (1 - share)).round().astype(np.uint8)
