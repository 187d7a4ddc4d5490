"""gridless evaluate: scores of a model on labelled files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from rich.console import Console
from torchmetrics.classification import MulticlassCalibrationError

from gridless.cli.model_argument import load_model_or_run
from gridless.data import IGNORED, find_files, load_labelled
from gridless.io import replaced_when_complete
from gridless.metrics import SegmentationScores
from gridless.prediction import class_probabilities, input_settings, label_map
from gridless.viewer import confusion_matrix_figure, scores_table


def evaluate(model: Path, files: list[str] | None = None, output: Path | None = None, workers: int = 0) -> int:
    """Score a model on every labelled point: accuracy, and IoU, precision and recall per class, and calibration.

    Args:
        model: model file, folder of a run, or "airborne", which comes with the package.
        files: labelled files, folders or patterns; by default the test files of the model's recipe.
        output: folder for scores.json and confusion.png; by default the model's folder, or the current one for a
            network of the package.
        workers: processes that prepare crops; 0 prepares them in between.

    Returns:
        The exit status, 0.
    """
    network = load_model_or_run(model)
    inputs, labels = input_settings(network), label_map(network)
    entries = files or network.metadata.get("recipe", {}).get("data", {}).get("test", [])
    if not entries:
        raise ValueError("evaluate: no files given, and the model's recipe names no test files (data.test)")
    folder = output or (model if model.is_dir() else model.parent)  # of a name alone: the current folder
    folder.mkdir(parents=True, exist_ok=True)
    scores: SegmentationScores | None = None
    calibration = MulticlassCalibrationError(len(labels.names), n_bins=15, ignore_index=IGNORED)
    console = Console()
    for path in find_files(entries, Path.cwd()):
        with console.status(f"{path.name}"):
            cloud = load_labelled(path, inputs, labels)
            probabilities = class_probabilities(network, cloud, workers=workers)
        assert cloud.labels is not None
        of_file = SegmentationScores.from_labels(cloud.labels, probabilities.argmax(axis=1), labels.names)
        calibration.update(torch.from_numpy(probabilities), torch.from_numpy(cloud.labels))
        scores = of_file if scores is None else scores + of_file
    assert scores is not None
    console.print(scores_table(scores))
    calibration_error = float(calibration.compute()) if scores.support.sum() else math.nan
    console.print(f"expected calibration error {calibration_error:.4f} (15 bins)")
    result = scores.to_dict() | {
        "expected_calibration_error": None if math.isnan(calibration_error) else calibration_error
    }
    with replaced_when_complete(folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    confusion_matrix_figure(scores, folder / "confusion.png")
    console.print(f"written: {folder / 'scores.json'}, {folder / 'confusion.png'}", soft_wrap=True, markup=False)
    return 0
