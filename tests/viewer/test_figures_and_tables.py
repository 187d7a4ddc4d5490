import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from rich.console import Console

from gridless.metrics import SegmentationScores
from gridless.viewer import confusion_matrix_figure, scores_table
from gridless.viewer.figures import confusion_matrix_heatmap
from gridless.viewer.palette import class_colors


def test_confusion_figure_of_25_classes_with_awkward_names(tmp_path):
    names = [f"$class_{i}^" for i in range(25)]
    scores = SegmentationScores(tuple(names), np.diag(np.arange(25)) * 1_000_000)
    confusion_matrix_figure(scores, tmp_path / "confusion.png")
    assert min(imread(tmp_path / "confusion.png").shape[:2]) > 1500
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.png"]


def test_confusion_figure_stays_small_and_bare_with_very_many_classes(tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr(Axes, "text", lambda *arguments, **options: texts.append(arguments))
    names = tuple(f"class {i}" for i in range(150))
    confusion_matrix_figure(SegmentationScores(names, np.ones((150, 150), int)), tmp_path / "confusion.png")
    assert max(imread(tmp_path / "confusion.png").shape[:2]) < 26 * 150
    assert not texts


def test_heatmap_shows_percent_of_the_true_class():
    heatmap = confusion_matrix_heatmap(SegmentationScores(("a", "b"), np.array([[3, 1], [0, 0]]))).data[0]
    np.testing.assert_allclose(heatmap.z, [[75, 25], [0, 0]])


def test_terminal_table_shows_every_class_as_text():
    scores = SegmentationScores.from_labels([0, 0, 1], [0, 1, 1], ["ground", "[red]x", "never"])
    out = io.StringIO()
    Console(file=out, width=120).print(scores_table(scores))
    text = out.getvalue()
    assert "[red]x" in text
    assert "66.7" in text  # overall accuracy
    assert "50.0" in text  # mean IoU
    assert "–" in text


def test_a_name_without_meaning_takes_no_color_close_to_a_meaning():
    assert class_colors(["7", "8", "14 wire conductor"]) == ["#0072b2", "#009e73", "#f0b400"]


def test_class_colors_are_distinct_and_can_be_given():
    colors = class_colors(["ground", "road", "tree", "other tree", "a", "b", "c"])
    assert len(set(colors)) == 7
    with pytest.raises(ValueError, match="tree"):
        class_colors(["tree"], {"tree": "green"})
