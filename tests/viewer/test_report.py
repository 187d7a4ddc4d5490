"""The report as a browser sees it."""

import html
import json
import re

import numpy as np
import pytest

from gridless.cloud import PointCloud
from gridless.metrics import SegmentationScores
from gridless.viewer import write_report
from tests.viewer.browser import Elements, opened

HOSTILE = "<script>alert(1)</script>"
NAMES = ["ground", "tree", HOSTILE]
MODES = ["truth", "prediction", "error", "height", "intensity"]

# Presses every button, and keeps in the page what the reader would then see.
PRESS_EVERY_BUTTON = """<script>(async () => {
  while (document.body.dataset.ready !== "true") await new Promise(next => setTimeout(next, 50));
  const seen = {};
  for (const button of document.querySelectorAll("#modes button")) {
    button.click();
    while (place.dataset.coloredBy !== button.dataset.mode) await new Promise(next => setTimeout(next, 50));
    seen[button.dataset.mode] = place.data.map(trace => [trace.name, trace.x.length]);
    if (button.dataset.mode === "height") {
      const { color, cmin, cmax } = place.data[0].marker;
      const seenHeights = [Math.min(...color), Math.max(...color), new Set(color).size, cmin, cmax];
      document.body.dataset.heights = JSON.stringify(seenHeights);
    }
    if (button.getAttribute("aria-pressed") !== "true") throw new Error("not pressed");
    if (button.dataset.mode === "truth") {
      document.body.dataset.legend = Array.from(place.querySelectorAll(".legendtext"), e => e.textContent).join("|");
    }
  }
  document.body.dataset.seen = JSON.stringify(seen);
})();</script>"""


def write_example(path, num_points=2000, **changes):
    rng = np.random.default_rng(0)
    truth = np.arange(num_points) % 4 - 1
    prediction = np.where(rng.random(num_points) < 0.9, np.maximum(truth, 0), 1)
    arguments = {
        "title": f"Title {HOSTILE}",
        "scores": SegmentationScores.from_labels(truth, prediction, NAMES),
        "curves": {"train_loss": ([0, 1, 2], [0.9, 0.5, 0.4]), HOSTILE: ([2], [0.7])},
        "cloud": PointCloud(
            rng.uniform(0, 20, (num_points, 3)) + np.array([7e5, 6.2e6, 1e9]), {"intensity": rng.random(num_points)}
        ),
        "truth": truth,
        "prediction": prediction,
        "class_names": NAMES,
        "facts": {"command": f"train {HOSTILE}"},
    }
    write_report(path, **{**arguments, **changes})
    return truth, prediction


def test_report_loads_nothing_and_holds_plotly_once(tmp_path):
    write_example(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    elements = Elements(text).found
    assert not [(tag, a) for tag, a in elements if {"src", "href"} & a.keys()]
    assert not {"link", "img", "iframe"} & {tag for tag, _ in elements}
    assert "default-src 'none'" in text
    assert len(re.findall(r"plotly\.js v\d", text)) == 1
    assert HOSTILE not in text
    assert html.escape(f"Title {HOSTILE}") in text


def test_large_cloud_is_sampled_and_says_so(tmp_path):
    write_example(tmp_path / "report.html", num_points=5000, max_points=1000)
    assert "1,000 of 5,000 points" in (tmp_path / "report.html").read_text()


def test_full_size_report_stays_below_12_megabytes(tmp_path):
    write_example(tmp_path / "report.html", num_points=150_000)
    assert (tmp_path / "report.html").stat().st_size < 12e6


def test_wrong_arguments_are_named_and_leave_no_file(tmp_path):
    for changes, message in (
        ({"truth": np.zeros(3, int)}, r"truth must be \[2000\]"),
        ({"max_points": 0}, "max_points"),
        ({"class_colors": {"tree": "red;}"}}, "#rrggbb"),
        ({"cloud": PointCloud(np.zeros((2000, 4)))}, "2 or 3 dimensions"),
    ):
        with pytest.raises(ValueError, match=message):
            write_example(tmp_path / "report.html", **changes)
    assert list(tmp_path.iterdir()) == []


def test_every_button_recolors_the_cloud_in_a_browser(tmp_path):
    page = tmp_path / "report.html"
    truth, prediction = write_example(page)
    page.write_text(page.read_text().replace("</body>", PRESS_EVERY_BUTTON + "</body>"))
    elements = opened(page, tmp_path / "profile")
    body = next(attributes for tag, attributes in elements if tag == "body")
    assert "data-error" not in body, body["data-error"]
    assert body.get("data-ready") == "true"
    assert sum(tag == "canvas" for tag, _ in elements) >= 1
    seen = json.loads(body["data-seen"])
    assert list(seen) == MODES
    shown = html.escape(HOSTILE, quote=False)
    counted = dict(zip(["not labeled", "ground", "tree", shown], np.bincount(truth + 1).tolist(), strict=True))
    assert dict(seen["truth"]) == counted
    assert dict(seen["prediction"]) == dict(
        zip(["ground", "tree", shown], np.bincount(prediction).tolist(), strict=True)
    )
    known = truth >= 0
    right = int((truth == prediction)[known].sum())
    assert dict(seen["error"]) == {
        "right": right,
        "wrong": int(known.sum()) - right,
        "not labeled": int((~known).sum()),
    }
    assert seen["height"] == [["height", 2000]]
    # those of the file, though float32 would hold one of them
    assert json.loads(body["data-heights"]) == pytest.approx([1e9, 1e9 + 20, 2000, 1e9 + 0.2, 1e9 + 19.8], abs=0.2)
    assert body["data-legend"].split("|") == ["ground", "tree", HOSTILE, "not labeled"]
