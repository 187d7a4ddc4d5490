"""Labels for every point of a cloud: overlapping crops, their softmax averaged, brought back to the points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gridless.cloud import PointCloud
from gridless.data import Batch, CoveringCrops, InputSettings, LabelMap, PreparedCloud, settings_from_plain
from gridless.neighbors import knn

Progress = Callable[[int, int], None]
_INTERPOLATED_FROM = 3


def predict(
    model: nn.Module,
    cloud: PointCloud,
    *,
    probabilities: bool = False,
    confidence: bool = False,
    spacing: float | None = None,
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
        probabilities: also add ``probability_<class>`` float32 columns.
        confidence: also add the probability of the chosen class, ``confidence`` float32.
        spacing: distance of neighboring crops, default crop radius; at most crop radius · √2.
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
            points_per_batch=points_per_batch,
            workers=workers,
            progress=progress,
        )
    else:
        scores = np.zeros((0, len(labels.names)), np.float32)
    column = "classification" if "classification" in cloud or "las_header" in cloud.metadata else "label"
    raw = labels.decode(scores.argmax(axis=1))
    if raw.min(initial=0) >= 0 and raw.max(initial=0) <= 255:
        raw = raw.astype(np.uint8)
    columns: dict[str, NDArray[Any]] = {column: raw}
    if probabilities:
        columns |= {f"probability_{name}": scores[:, c].copy() for c, name in enumerate(labels.names)}
    if confidence:
        columns["confidence"] = scores.max(axis=1)
    return cloud.with_columns(**columns)


def input_settings(model: nn.Module) -> InputSettings:
    """The input settings that the model was trained with."""
    return settings_from_plain(InputSettings, _metadata(model, "inputs"), "model.metadata.inputs")


def label_map(model: nn.Module) -> LabelMap:
    """The classes that the model was trained for."""
    return settings_from_plain(LabelMap, _metadata(model, "labels"), "model.metadata.labels")


def class_probabilities(
    model: nn.Module,
    cloud: PreparedCloud,
    *,
    spacing: float | None = None,
    points_per_batch: int = 16_000,
    workers: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Probabilities [N, classes] of every point of a prepared cloud; arguments as in :func:`predict`."""
    inputs = input_settings(model)
    sums = np.zeros((len(cloud), len(label_map(model).names)), np.float32)
    pyramid: Any = model.pyramid_settings
    tiles = _Tiles(CoveringCrops([cloud], inputs, pyramid, inputs.crop_radius if spacing is None else spacing))
    was_training = model.training
    model.eval()
    try:
        waiting: list[_Tile] = []
        for done, tile in enumerate(DataLoader(tiles, batch_size=None, num_workers=workers), start=1):
            waiting.append(tile)
            if sum(len(t.batch.labels) for t in waiting) >= points_per_batch or done == len(tiles):
                _add_scores(model, waiting, sums)
                waiting = []
                if progress is not None:
                    progress(done, len(tiles))
    finally:
        model.train(was_training)
    return tempered(sums, float(getattr(model, "metadata", {}).get("temperature", 1.0)))


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


@dataclass(frozen=True, eq=False)
class _Tile:
    """A crop, its network inputs, and for each of its n points the network points to take its scores from."""

    rows: NDArray[np.int64]
    batch: Batch
    nearest: Tensor  # [n, k]
    weights: Tensor  # [n, k], rows sum to the point's weight in the average over crops


class _Tiles(Dataset[_Tile]):
    def __init__(self, crops: CoveringCrops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> _Tile:
        crop, batch = self.crops[index]
        inputs = self.crops.inputs
        points, network_points = torch.from_numpy(crop.point_positions), torch.from_numpy(crop.positions)
        k = min(_INTERPOLATED_FROM, len(network_points))
        nearest = knn(network_points, points, k).indices.view(len(points), k)
        squared = (points[:, None] - network_points[nearest]).square().sum(dim=2)
        weights = 1 / (squared + (0.05 * inputs.voxel_size) ** 2)
        horizontal = points[:, : max(1, points.shape[1] - 1)]
        from_axis = horizontal.square().sum(dim=1, keepdim=True) / inputs.crop_radius**2
        trust = (1 - from_axis).clamp(min=0.0).square() + 1e-3
        return _Tile(crop.rows, batch, nearest, weights / weights.sum(dim=1, keepdim=True) * trust)


@torch.no_grad()  # not inference_mode: an operator's workspace made there could not be used by a later training
def _add_scores(model: nn.Module, tiles: list[_Tile], sums: NDArray[np.float32]) -> None:
    device = next(model.parameters()).device
    batch = Batch.concatenate([tile.batch for tile in tiles]).to(device)
    scores = model(batch.features, batch.pyramid).float().softmax(dim=1).cpu()
    parts = scores.split([len(tile.batch.labels) for tile in tiles])
    for tile, part in zip(tiles, parts, strict=True):
        sums[tile.rows] += (part[tile.nearest] * tile.weights[:, :, None]).sum(dim=1).numpy()


def _metadata(model: nn.Module, name: str) -> Any:
    metadata: Any = getattr(model, "metadata", {})
    if name not in metadata:
        raise ValueError(
            f"predict: model.metadata has no {name!r}; only models saved by a training know their inputs and labels"
        )
    return metadata[name]
