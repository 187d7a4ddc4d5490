"""`gridless view` on clouds of millions of points: preparing, a picture in a headless browser, choosing what to send.

    python -m benchmarks.cloud_page [MILLIONS …]      # 1 and 10 by default

Each cloud is prepared in a process of its own. "Choosing" is how long the octree takes to say which nodes a camera
needs, along a flight from far away into the cloud: what stands between a movement of the camera and the first new
points.
The frame rate depends on the graphics of the machine that looks, and is not measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.large_prediction import make_file
from benchmarks.machine import machine
from benchmarks.memory_probe import resident_megabytes
from benchmarks.report import line, rule, with_section

_DOCUMENT = Path(__file__).parents[1] / "BENCHMARKS.md"
_COMMAND = "python -m benchmarks.cloud_page"
_STEPS = 50
_BUDGET = 1_500_000


def measure(millions: float) -> dict[str, float]:
    """Seconds, milliseconds and megabytes of one cloud in this process."""
    import gridless as gl
    from gridless.viewer.cloud_page import CloudPage
    from gridless.viewer.coloring import color_by
    from gridless.viewer.octree import Camera
    from gridless.viewer.screenshot import write_screenshot

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "cloud.las")
        make_file(file, round(millions * 1e6))
        start = time.perf_counter()
        cloud = gl.read(file)
        read = time.perf_counter() - start
        start = time.perf_counter()
        page = CloudPage(cloud, {"height": partial(color_by, cloud, "height")}, budget=_BUDGET)
        prepared = time.perf_counter() - start
        chosen, shown = [], 0
        for distance in np.geomspace(20, 0.2, _STEPS):
            camera = Camera(np.array([0.0, 0.0, distance]), np.diag([1.0, -1.0, -1.0]), 1.0, 1280, 800)
            start = time.perf_counter()
            nodes = page.tree.nodes_for(camera, _BUDGET)
            chosen.append(1e3 * (time.perf_counter() - start))
            shown = max(shown, int(np.diff(page.tree.starts)[nodes].sum()))
        start = time.perf_counter()
        try:
            write_screenshot(page, Path(folder, "picture.png"))
            picture = time.perf_counter() - start
        except FileNotFoundError:  # no browser here
            picture = float("nan")
        page.server.stop()
    return {
        "read": read, "prepared": prepared, "nodes": len(page.tree), "choosing": float(np.median(chosen)),
        "slowest": max(chosen), "shown": shown, "picture": picture, "megabytes": resident_megabytes("VmHWM"),
    }  # fmt: skip


def main() -> int:
    """Measure every cloud and write the table."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("millions", nargs="*", type=float, default=[1.0, 10.0], help="of points")
    parser.add_argument("--here", action="store_true", help="measure one cloud in this process and print it as JSON")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(*options.millions)))
        return 0
    columns = ("points", "reading", "preparing", "nodes", "choosing: median, slowest", "most points sent", "picture")
    lines = [line(*columns, "memory at its peak"), rule(8)]
    for millions in options.millions:
        words = [sys.executable, "-m", "benchmarks.cloud_page", str(millions), "--here"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        lines.append(
            line(
                f"{1e6 * millions:,.0f}", f"{found['read']:.1f} s", f"{found['prepared']:.1f} s",
                f"{found['nodes']:,}", f"{found['choosing']:.1f} ms, {found['slowest']:.1f} ms",
                f"{found['shown']:,}", f"{found['picture']:.1f} s", f"{found['megabytes'] / 1e3:.2f} GB",
            )
        )  # fmt: skip
        print(lines[-1], flush=True)
    document = _DOCUMENT.read_text("utf-8")
    text = "\n".join([f"{machine()}; headless Chromium, drawn in software.", "", *lines])
    _DOCUMENT.write_text(with_section(document, "page", _COMMAND, text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
