"""gridless evaluate: scores of a model on labelled files or on a part of a data set."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from gridless.cli.model_argument import load_model_or_run
from gridless.data import IGNORED, LabelMap, PreparedCloud, settings_from_plain
from gridless.io import replaced_when_complete
from gridless.metrics import SegmentationScores, calibration_sums, expected_calibration_error, mean_class_accuracy
from gridless.models.base import Network
from gridless.prediction import class_probabilities, input_settings, label_map, object_probabilities
from gridless.training import Recipe, open_clouds
from gridless.training.recipe import DataSettings
from gridless.viewer import confusion_matrix_figure, percent, scores_table

_OBJECTS_TOGETHER = 16
_CALIBRATION_BINS = 15
SCORES_FILE = "scores.json"
# What the file says that was scored.
_TEST, _VALIDATION, _NAMED = "test files", "validation", "named files"


def evaluate(
    model: Path,
    files: list[str] | None = None,
    output: Path | None = None,
    path: Path | None = None,
    validation: bool = False,
    ignore: list[int] | None = None,
    votes: int = 1,
    workers: int = 0,
) -> int:
    """Score a model on every labelled point or object: accuracy, IoU, precision and recall per class, calibration.

    Args:
        model: model file, folder of a run, or a network of the package, as ``predict`` takes it.
        files: labelled files, folders or patterns, or parts of the model's data set; by default those of its recipe.
        output: folder for scores.json and confusion.png; by default the model's folder, or the current one for a
            network of the package.
        path: folder of the data set, if it is not where the training found it.
        validation: score what the training held aside instead.
        ignore: labels of files that do not count, besides those that the model's recipe ignores.
        votes: average over as many turns of every crop or object; takes as many times as long.
        workers: processes that prepare crops; 0 prepares them in between. Whole objects are prepared in between.

    Returns:
        The exit status, 0.
    """
    network = load_model_or_run(model, files or ())
    labels = label_map(network)
    labels = replace(labels, ignored=sorted({*(labels.ignored or []), *(ignore or [])}))
    clouds, total = _held_aside(network, path, files, ignore) if validation else _named(network, labels, path, files)
    folder = output or (model if model.is_dir() else model.parent)  # of a name alone: the current folder
    folder.mkdir(parents=True, exist_ok=True)
    scores: SegmentationScores | None = None
    calibration = np.zeros((3, _CALIBRATION_BINS))
    console = Console()
    outcomes = _objects if network.task == "classification" else _points
    with console.status("") as status:
        for done, truth, probabilities in outcomes(network, clouds, votes, workers):
            status.update(f"{done} of {total} files")
            part = SegmentationScores.from_labels(truth, probabilities.argmax(axis=1), labels.names)
            calibration += calibration_sums(truth, probabilities, _CALIBRATION_BINS, IGNORED)
            scores = part if scores is None else scores + part
    if scores is None:
        raise ValueError("evaluate: the files have no points")
    if not scores.support.any():
        raise ValueError(
            f"evaluate: nothing to score: no point of the {total} files has a label that counts, ignored are "
            f"{labels.ignored}; look at --ignore and at the recipe's labels.ignored"
        )
    console.print(scores_table(scores))
    calibration_error = expected_calibration_error(calibration)
    console.print(f"expected calibration error {calibration_error:.4f} ({_CALIBRATION_BINS} bins)")
    result = scores.to_dict() | {
        "expected_calibration_error": None if math.isnan(calibration_error) else calibration_error
    }
    if network.task == "classification":
        class_accuracy = mean_class_accuracy(scores.confusion)
        console.print(f"overall accuracy {percent(scores.overall_accuracy)}, of classes {percent(class_accuracy)}")
        result["mean_class_accuracy"] = class_accuracy
    result["scored"] = _VALIDATION if validation else _NAMED if files else _TEST
    before = _scored_before(folder / SCORES_FILE)
    if before not in (None, result["scored"]):
        console.print(
            f"note: scores of the {before} in {folder / SCORES_FILE} are replaced", soft_wrap=True, markup=False
        )
    with replaced_when_complete(folder / SCORES_FILE) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    confusion_matrix_figure(scores, folder / "confusion.png")
    console.print(f"written: {folder / SCORES_FILE}, {folder / 'confusion.png'}", soft_wrap=True, markup=False)
    return 0


def _scored_before(path: Path) -> str | None:
    """What an earlier evaluation scored, if the file says so."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return before.get("scored") if isinstance(before, dict) else None


def _named(
    network: Network, labels: LabelMap, path: Path | None, files: list[str] | None
) -> tuple[Iterator[PreparedCloud], int]:
    """The files given, or those that the recipe keeps for testing, and their number."""
    plain = network.metadata.get("recipe", {}).get("data", {"train": []})
    data = _moved(settings_from_plain(DataSettings, plain, "model.metadata.recipe.data"), path)
    entries = files or data.test
    if not entries:
        raise ValueError("evaluate: no files given, and the model's recipe names no test files (data.test)")
    inputs = input_settings(network)
    data_set = data.open(labels)
    paths = [file for entry in entries for file in data_set.files(entry)]
    return (data_set.prepare(file, inputs, labels) for file in paths), len(paths)


def _held_aside(
    network: Network, path: Path | None, files: list[str] | None, ignore: list[int] | None
) -> tuple[Iterator[PreparedCloud], int]:
    """What the training of the network validated on, split off again as its recipe says."""
    if files:
        raise ValueError("evaluate: --validation is for what the training held aside, and takes no files")
    if ignore:
        raise ValueError("evaluate: --ignore is for files; what the training held aside follows from its own labels")
    if "recipe" not in network.metadata:
        raise ValueError("evaluate: --validation needs a model that knows its recipe; this one does not")
    recipe = settings_from_plain(Recipe, network.metadata["recipe"], "model.metadata.recipe")
    if recipe.data.draws_validation and len(set(network.metadata.get("seeds", []))) > 1:
        raise ValueError(
            "evaluate: each network of this model held other files aside, which the others learned from; "
            "score them one by one, or name files"
        )
    _, clouds = open_clouds(replace(recipe, data=_moved(recipe.data, path)))
    held = clouds.validation
    return (held[index] for index in range(len(held))), len(held)


def _moved(data: DataSettings, path: Path | None) -> DataSettings:
    if path is None:
        return data
    if data.data_set == "files":
        raise ValueError("evaluate: --path is the folder of a data set, and this model learned from files: name files")
    return replace(data, path=str(path.resolve()))


Outcomes = Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]


def _points(network: Network, clouds: Iterator[PreparedCloud], votes: int, workers: int) -> Outcomes:
    """Clouds done, and classes and probabilities of one cloud's points."""
    for done, cloud in enumerate(clouds, 1):
        if len(cloud):
            assert cloud.labels is not None
            yield done, cloud.labels, class_probabilities(network, cloud, votes=votes, workers=workers)


def _objects(network: Network, clouds: Iterator[PreparedCloud], votes: int, workers: int) -> Outcomes:
    """Clouds done, and classes and probabilities of a few objects."""
    done = 0
    while together := list(islice(clouds, _OBJECTS_TOGETHER)):
        done += len(together)
        truth = np.array([IGNORED if cloud.labels is None else cloud.labels[0] for cloud in together])
        yield done, truth, object_probabilities(network, together, votes)
