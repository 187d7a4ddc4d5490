import io

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from gridless.errors import ReadError
from gridless.metrics import SegmentationScores
from gridless.viewer import confusion_matrix_figure, read_curves, scores_table
from gridless.viewer.figures import confusion_matrix_heatmap
from gridless.viewer.palette import class_colors


def test_confusion_figure_of_25_classes_with_awkward_names(tmp_path):
    names = [f"$class_{i}^" for i in range(25)]
    scores = SegmentationScores(tuple(names), np.diag(np.arange(25)) * 1_000_000)
    confusion_matrix_figure(scores, tmp_path / "confusion.png")
    assert min(imread(tmp_path / "confusion.png").shape[:2]) > 1500
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.png"]


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


def test_curves_skip_blanks_and_name_bad_cells(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train_loss,val_miou,lr\n0,9,0.5,,\n0,9,,0.7,\n1,19,0.25,,\n")
    curves = read_curves(path)
    assert set(curves) == {"train_loss", "val_miou"}
    assert curves["train_loss"][0].tolist() == [9, 19]
    assert curves["train_loss"][1].tolist() == [0.5, 0.25]
    path.write_text("step,loss\n1,0.5\n2,oops\n")
    with pytest.raises(ReadError, match="line 3"):
        read_curves(path)
    path.write_text("loss\n1\n")
    with pytest.raises(ReadError, match="no column 'step'"):
        read_curves(path)


def test_class_colors_are_distinct_and_can_be_given():
    colors = class_colors(["ground", "road", "tree", "other tree", "a", "b", "c"])
    assert len(set(colors)) == 7
    with pytest.raises(ValueError, match="tree"):
        class_colors(["tree"], {"tree": "green"})
