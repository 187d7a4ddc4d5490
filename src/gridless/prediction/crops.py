"""Scores of overlapping crops: each crop's softmax brought back to its points and added up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gridless.cloud import horizontal
from gridless.data import Batch, CoveringCrops
from gridless.models import Network
from gridless.neighbors import knn
from gridless.prediction.ahead import one_ahead
from gridless.prediction.clock import Clock

Progress = Callable[[int, int], None]
_INTERPOLATED_FROM = 3


def add_scores(
    model: Network,
    crops: CoveringCrops,
    sums: NDArray[np.float32],
    *,
    points_per_batch: int,
    workers: int = 0,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> None:
    """Add w p_crop of every crop of one cloud to ``sums`` [N, classes]; other arguments as in ``predict``.

    While the network has some crops, a thread or ``workers`` processes prepare the next.
    """
    clock = Clock() if clock is None else clock
    inputs = _CropInputs(crops)
    was_training = model.training
    model.eval()
    try:
        batches = _batches(inputs, points_per_batch, workers, clock)
        for done, batch in batches if workers else one_ahead(batches):
            with clock("network"):
                _add_batch(model, batch, sums)
            if progress is not None:
                progress(done, len(inputs))
    finally:
        model.train(was_training)


def _batches(
    inputs: _CropInputs, points_per_batch: int, workers: int, clock: Clock
) -> Iterator[tuple[int, list[_CropInput]]]:
    """Crops so far, and the crops that go through the network together."""
    waiting: list[_CropInput] = []
    prepared = iter(DataLoader(inputs, batch_size=None, num_workers=workers))
    for done in range(1, len(inputs) + 1):
        with clock("crops and search"):
            waiting.append(next(prepared))
        if sum(len(crop.batch.labels) for crop in waiting) >= points_per_batch or done == len(inputs):
            yield done, waiting
            waiting = []


@dataclass(frozen=True, eq=False)
class _CropInput:
    """A crop, its network inputs, and for each of its n points the network points to take its scores from."""

    rows: NDArray[np.int64]
    batch: Batch
    nearest: Tensor  # [n, k]
    weights: Tensor  # [n, k], rows sum to the point's weight in the average over crops


class _CropInputs(Dataset[_CropInput]):
    def __init__(self, crops: CoveringCrops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> _CropInput:
        crop, batch = self.crops[index]
        inputs = self.crops.inputs
        points, network_points = torch.from_numpy(crop.point_positions), torch.from_numpy(crop.positions)
        k = min(_INTERPOLATED_FROM, len(network_points))
        nearest = knn(network_points, points, k).indices.view(len(points), k)
        squared = (points[:, None] - network_points[nearest]).square().sum(dim=2)
        weights = 1 / (squared + (0.05 * inputs.voxel_size) ** 2)
        from_axis = horizontal(points).square().sum(dim=1, keepdim=True) / inputs.crop_radius**2
        trust = (1 - from_axis).clamp(min=0.0).square() + 1e-3
        return _CropInput(crop.rows, batch, nearest, weights / weights.sum(dim=1, keepdim=True) * trust)


@torch.no_grad()  # not inference_mode: an operator's workspace made there could not be used by a later training
def _add_batch(model: Network, crops: list[_CropInput], sums: NDArray[np.float32]) -> None:
    weights = next(model.parameters())
    batch = Batch.concatenate([crop.batch for crop in crops]).to(weights.device)
    scores = model(batch.features.to(weights.dtype), batch.pyramid).float().softmax(dim=1).cpu()
    parts = scores.split([len(crop.batch.labels) for crop in crops])
    for crop, part in zip(crops, parts, strict=True):
        sums[crop.rows] += (part[crop.nearest] * crop.weights[:, :, None]).sum(dim=1).numpy()
