"""Labels for every point of a cloud: overlapping crops, their softmax averaged, brought back to the points."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.data import CoveringCrops, InputSettings, LabelMap, PreparedCloud, settings_from_plain
from gridless.models import Network
from gridless.prediction.crops import Progress, add_scores


def predict(
    model: Network,
    cloud: PointCloud,
    *,
    probabilities: bool = False,
    confidence: bool = False,
    spacing: float | None = None,
    votes: int = 1,
    points_per_batch: int = 16_000,
    workers: int = 0,
    progress: Progress | None = None,
    context: str = "predict",
) -> PointCloud:
    """Label every point of a cloud with a trained network.

    p(point) = Σ w p_crop(point) / Σ w over the crops that contain it, w falling from 1 at a crop's axis to near 0 at
    its rim; p_crop is interpolated from the nearest network points by inverse squared distance. Then p becomes
    p^(1/T) / Σ p^(1/T) with the temperature T that the model's training found, which keeps the order of the classes.

    Args:
        model: from ``load_model``, with the input settings and labels of its training in ``model.metadata``.
        cloud: N points with the columns that the model's features need.
        probabilities: also add ``probability_<class>`` float32 columns; characters of a class's name that not every
            format takes become "_".
        confidence: also add the probability of the chosen class, ``confidence`` float32.
        spacing: distance of neighboring crops, default crop radius; at most 1.414 crop radii.
        votes: average over as many turns of each crop; takes as many times as long.
        points_per_batch: network points that go through the network together, about.
        workers: processes that prepare crops.
        progress: called with (crops done, all crops).
        context: what to call the cloud in messages.

    Returns:
        The cloud with ``classification`` (the class's first raw label) if it is from LAS or has that column, else with
        ``label``.

    Raises:
        ValueError: the model was saved without input settings, NaN coordinates, or a missing column.
    """
    inputs, labels = input_settings(model), label_map(model)
    if len(cloud):
        scores = class_probabilities(
            model,
            inputs.prepare(cloud, context),
            spacing=spacing,
            votes=votes,
            points_per_batch=points_per_batch,
            workers=workers,
            progress=progress,
        )
    else:
        scores = np.zeros((0, len(labels.names)), np.float32)
    return with_predictions(cloud, labels, scores, probabilities, confidence)


def with_predictions(
    cloud: PointCloud, labels: LabelMap, scores: NDArray[np.float32], probabilities: bool, confidence: bool
) -> PointCloud:
    """The cloud with the label of the class of the highest score [N, classes] and the columns asked for."""
    column = "classification" if "classification" in cloud or "las_header" in cloud.metadata else "label"
    first_labels = labels.decode(np.arange(len(labels.names)))
    if first_labels.min() >= 0 and first_labels.max() <= 255:
        first_labels = first_labels.astype(np.uint8)
    columns: dict[str, NDArray[Any]] = {column: first_labels[scores.argmax(axis=1)]}
    if probabilities:
        columns |= {name: scores[:, c].copy() for c, name in enumerate(_probability_columns(labels.names))}
    if confidence:
        columns["confidence"] = scores.max(axis=1)
    return cloud.with_columns(**columns)


def _probability_columns(class_names: Sequence[str]) -> list[str]:
    plain = [re.sub(r"\W", "_", name, flags=re.ASCII) for name in class_names]
    if len(set(plain)) < len(plain):
        plain = [f"{place}_{name}" for place, name in enumerate(plain)]
    return [f"probability_{name}" for name in plain]


def input_settings(model: Network) -> InputSettings:
    """The input settings that the model was trained with."""
    return settings_from_plain(InputSettings, _metadata(model, "inputs"), "model.metadata.inputs")


def label_map(model: Network) -> LabelMap:
    """The classes that the model was trained for."""
    return settings_from_plain(LabelMap, _metadata(model, "labels"), "model.metadata.labels")


def class_probabilities(
    model: Network,
    cloud: PreparedCloud,
    *,
    spacing: float | None = None,
    votes: int = 1,
    points_per_batch: int = 16_000,
    workers: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Probabilities [N, classes] of every point of a prepared cloud; arguments as in :func:`predict`."""
    require_point_labels(model)
    inputs = input_settings(model)
    sums = np.zeros((len(cloud), len(label_map(model).names)), np.float32)
    crops = CoveringCrops(
        [cloud], inputs, model.pyramid_settings, inputs.crop_radius if spacing is None else spacing, votes=votes
    )
    add_scores(model, crops, sums, points_per_batch=points_per_batch, workers=workers, progress=progress)
    return tempered(sums, temperature(model))


def require_point_labels(model: Network) -> None:
    """ValueError if the model gives one class to a whole cloud."""
    if model.task != "segmentation":
        raise ValueError("predict: this network gives a class to whole objects, not to points")


def temperature(model: Network) -> float:
    """The temperature that the model's training found; 1 if it found none."""
    return float(model.metadata.get("temperature", 1.0))


def tempered(weights: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities proportional to w^(1/T): the order of the classes stays, their contrast changes.

    For w = softmax(z) this is softmax(z / T).

    Args:
        weights: w [N, C], not negative, at least one of each row positive.
        temperature: T > 0; above 1 evens out, below 1 sharpens.

    Returns:
        [N, C], rows sum to 1.

    Raises:
        ValueError: a temperature that is not positive.

    Example:
        >>> tempered(np.array([[0.9, 0.1]], np.float32), 2.0).round(3).tolist()
        [[0.75, 0.25]]
    """
    if not temperature > 0:
        raise ValueError(f"tempered: temperature must be positive, got {temperature}")
    relative = weights / weights.max(axis=1, keepdims=True)  # the largest stays 1: no power can underflow a whole row
    powered = relative if temperature == 1.0 else relative ** np.float32(1 / temperature)
    shares: NDArray[np.float32] = powered / powered.sum(axis=1, keepdims=True)
    return shares


def _metadata(model: Network, name: str) -> Any:
    if name not in model.metadata:
        raise ValueError(
            f"predict: model.metadata has no {name!r}; only models saved by a training know their inputs and labels"
        )
    return model.metadata[name]
