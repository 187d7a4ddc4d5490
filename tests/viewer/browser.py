"""A page in headless Chromium, driven through its DevTools protocol as a user drives it with mouse and keys."""

import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from html.parser import HTMLParser

import pytest
from websockets.sync.client import connect

from gridless.viewer.screenshot import BROWSERS, HEADLESS_FLAGS


class Browser:
    """One open page.

    Args:
        socket: of the page's DevTools.
    """

    def __init__(self, socket):
        self.socket, self._numbers = socket, itertools.count(1)

    def call(self, method, **parameters):
        """A command of the protocol and its result."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=60))).get("id") != number:
            pass
        return answer["result"]

    def value(self, expression):
        """What a JavaScript expression gives."""
        return self.call("Runtime.evaluate", expression=expression, awaitPromise=True)["result"].get("value")

    def wait_for(self, expression, timeout=60.0):
        """The first value of an expression that counts as true."""
        deadline = time.monotonic() + timeout
        while not (value := self.value(expression)):
            assert time.monotonic() < deadline, f"{expression} stays {value!r}"
            time.sleep(0.1)
        return value

    def mouse(self, kind, x, y, **more):
        """An event of the left button: mousePressed, mouseMoved, mouseReleased."""
        held = {"button": "left", "buttons": 0 if kind == "mouseReleased" else 1, "clickCount": 1} | more
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def click(self, x, y):
        """Press and release at one place."""
        self.mouse("mouseMoved", x, y, button="none", buttons=0)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)


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
    command = [
        program_or_skip(),
        *HEADLESS_FLAGS.split(),
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"--user-data-dir={profile}",
        page.as_uri(),
    ]
    return Elements(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout).found


@contextlib.contextmanager
def browser_at(address, profile):
    """A browser that shows the page of an address; the test is skipped where there is none."""
    program = program_or_skip()
    flags = [*HEADLESS_FLAGS.split(), f"--user-data-dir={profile}", "--remote-debugging-port=0"]
    words = [program, *flags, "--window-size=1000,700", address]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_devtools(profile / "DevToolsActivePort", process), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(10)


def program_or_skip():
    """The path of a browser; skips where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no chromium or chrome on PATH")
    return program


def _devtools(file, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError, IndexError, OSError):
            port = file.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.1)
    raise TimeoutError("the browser did not open its DevTools")
