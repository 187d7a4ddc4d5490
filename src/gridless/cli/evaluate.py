"""gridless evaluate: scores of a model on labelled files or on a part of a data set."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torchmetrics.classification import MulticlassCalibrationError

from gridless.cli.model_argument import load_model_or_run
from gridless.data import IGNORED, DataSet, settings_from_plain
from gridless.io import replaced_when_complete
from gridless.metrics import SegmentationScores, mean_class_accuracy
from gridless.models.base import Network
from gridless.prediction import class_probabilities, input_settings, label_map, object_probabilities
from gridless.training.recipe import DataSettings
from gridless.viewer import confusion_matrix_figure, percent, scores_table

_OBJECTS_TOGETHER = 16


def evaluate(
    model: Path,
    files: list[str] | None = None,
    output: Path | None = None,
    path: Path | None = None,
    workers: int = 0,
) -> int:
    """Score a model on every labelled point or object: accuracy, IoU, precision and recall per class, calibration.

    Args:
        model: model file, folder of a run, or "airborne", which comes with the package.
        files: labelled files, folders or patterns, or parts of the model's data set; by default those of its recipe.
        output: folder for scores.json and confusion.png; by default the model's folder, or the current one for a
            network of the package.
        path: folder of the data set, if it is not where the training found it.
        workers: processes that prepare crops; 0 prepares them in between.

    Returns:
        The exit status, 0.
    """
    network = load_model_or_run(model)
    labels = label_map(network)
    plain = network.metadata.get("recipe", {}).get("data", {"train": []})
    data = settings_from_plain(DataSettings, plain, "model.metadata.recipe.data")
    if path is not None:
        data = replace(data, path=str(path.resolve()))
    entries = files or data.test
    if not entries:
        raise ValueError("evaluate: no files given, and the model's recipe names no test files (data.test)")
    folder = output or (model if model.is_dir() else model.parent)  # of a name alone: the current folder
    folder.mkdir(parents=True, exist_ok=True)
    scores: SegmentationScores | None = None
    calibration = MulticlassCalibrationError(len(labels.names), n_bins=15, ignore_index=IGNORED)
    console = Console()
    outcomes = _objects if network.task == "classification" else _points
    data_set = data.open(labels)
    paths = [file for entry in entries for file in data_set.files(entry)]
    with console.status("") as status:
        for done, truth, probabilities in outcomes(network, data_set, paths, workers):
            status.update(f"{done} of {len(paths)} files")
            part = SegmentationScores.from_labels(truth, probabilities.argmax(axis=1), labels.names)
            calibration.update(torch.from_numpy(probabilities), torch.from_numpy(truth))
            scores = part if scores is None else scores + part
    assert scores is not None
    console.print(scores_table(scores))
    calibration_error = float(calibration.compute()) if scores.support.sum() else math.nan
    console.print(f"expected calibration error {calibration_error:.4f} (15 bins)")
    result = scores.to_dict() | {
        "expected_calibration_error": None if math.isnan(calibration_error) else calibration_error
    }
    if network.task == "classification":
        class_accuracy = mean_class_accuracy(scores.confusion)
        console.print(f"overall accuracy {percent(scores.overall_accuracy)}, of classes {percent(class_accuracy)}")
        result["mean_class_accuracy"] = class_accuracy
    with replaced_when_complete(folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    confusion_matrix_figure(scores, folder / "confusion.png")
    console.print(f"written: {folder / 'scores.json'}, {folder / 'confusion.png'}", soft_wrap=True, markup=False)
    return 0


Outcomes = Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]


def _points(network: Network, data_set: DataSet, paths: list[Path], workers: int) -> Outcomes:
    """Files done, and classes and probabilities of one file's points."""
    for done, path in enumerate(paths, 1):
        cloud = data_set.prepare(path, input_settings(network), label_map(network))
        if len(cloud):
            assert cloud.labels is not None
            yield done, cloud.labels, class_probabilities(network, cloud, workers=workers)


def _objects(network: Network, data_set: DataSet, paths: list[Path], workers: int) -> Outcomes:
    """Files done, and classes and probabilities of a few objects."""
    for start in range(0, len(paths), _OBJECTS_TOGETHER):
        together = paths[start : start + _OBJECTS_TOGETHER]
        clouds = [data_set.prepare(path, input_settings(network), label_map(network)) for path in together]
        truth = np.array([IGNORED if cloud.labels is None else cloud.labels[0] for cloud in clouds])
        yield start + len(together), truth, object_probabilities(network, clouds)
