"""gridless view: clouds in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from rich.console import Console

import gridless.io as gio
from gridless.cli.info import ASPRS_CLASSES
from gridless.cloud import PointCloud
from gridless.viewer.cloud_page import SMALLEST_BUDGET, CloudPage
from gridless.viewer.coloring import Coloring, color_by, right_or_wrong, ways_of_coloring
from gridless.viewer.screenshot import given_camera, require_browser, write_screenshot

if TYPE_CHECKING:
    from gridless.data import LabelMap


def view(
    files: list[Path],
    color: str | None = None,
    truth: str | None = None,
    prediction: str | None = None,
    model: Path | None = None,
    budget: int = 1_500_000,
    port: int = 0,
    screenshot: Path | None = None,
    camera: str = "",
) -> int:
    """Show clouds in the browser of this machine; files given together become one cloud, held in memory.

    Args:
        files: files that `gridless.io.open` knows.
        color: column to color by, "height", or "right or wrong".
        truth: column with true classes, to see beside ``prediction`` where they agree.
        prediction: column with predicted classes.
        model: what predicted, as for predict; labels of one of its classes agree, those that it ignores do not count.
        budget: largest number of points on the screen at a time, at least 50,000.
        port: of the page; a free one by default.
        screenshot: PNG file to write instead of serving the page; needs Chromium or Chrome.
        camera: of the screenshot: what follows "?" in a link to a view.

    Returns:
        The exit status, 0.
    """
    if (truth is None) != (prediction is None):
        raise ValueError("view: --truth and --prediction belong together")
    if model is not None and truth is None:
        raise ValueError("view: --model says which labels of --truth and --prediction agree")
    if budget < SMALLEST_BUDGET:
        raise ValueError(f"view: --budget must be at least {SMALLEST_BUDGET:,}, got {budget:,}")
    if camera and screenshot is None:
        raise ValueError("view: --camera is that of a --screenshot; a link to a view opens the page there")
    if screenshot is not None:  # before minutes of reading
        require_browser()
        given_camera(camera)
        if not screenshot.absolute().parent.is_dir():
            raise FileNotFoundError(f"view: no such folder: {screenshot.absolute().parent}")
    labels = None if model is None else _labels_of(model, files)
    console = Console()
    cloud = PointCloud.concatenate(gio.read(file) for file in files)
    is_las = all(file.suffix.lower() in (".las", ".laz") for file in files)
    names = {"classification": ASPRS_CLASSES} if is_las else {}
    ways: dict[str, Callable[[], Coloring]] = {
        name: partial(color_by, cloud, name, names.get(name)) for name in ways_of_coloring(cloud)
    }
    for column in filter(None, (truth, prediction)):
        if column not in cloud:
            raise ValueError(f"view: no column {column!r}; the files have {', '.join(cloud.columns) or 'none'}")
    if truth is not None and prediction is not None:
        ways["right or wrong"] = _comparison(cloud[truth], cloud[prediction], labels)
    if color is not None:
        if color not in ways:
            raise ValueError(f"view: cannot color by {color!r}; choose one of {', '.join(ways)}")
        ways = {color: ways[color]} | ways
    page = CloudPage(cloud, ways, port, budget)
    try:
        if screenshot is not None:
            write_screenshot(page, screenshot, query=camera)
            console.print(f"written: {screenshot}", soft_wrap=True, markup=False)
        else:
            console.print(f"{len(cloud):,} points at {page.server.address}", soft_wrap=True, markup=False)
            console.print("for this machine only; Ctrl+C ends it")
            while True:
                time.sleep(3600)
    finally:
        page.server.stop()
    return 0


def _labels_of(model: Path, files: list[Path]) -> LabelMap:
    # What networks need is imported for this alone: the page starts without it.
    from gridless.cli.model_argument import load_model_or_run
    from gridless.prediction import label_map

    return label_map(load_model_or_run(model, [str(file) for file in files]))


def _comparison(truth: NDArray[Any], prediction: NDArray[Any], labels: LabelMap | None) -> Callable[[], Coloring]:
    if labels is None:
        return partial(right_or_wrong, truth, prediction)
    from gridless.data import IGNORED

    classes, predicted = labels.encode(truth, "view: --truth"), labels.encode(prediction, "view: --prediction")
    return partial(right_or_wrong, classes, predicted, classes != IGNORED)
