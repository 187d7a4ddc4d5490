"""One class for every object: whole clouds through a classification network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gridless.data import Batch, PreparedCloud, angles_of, whole_crop
from gridless.models import Network
from gridless.prediction.predict import input_settings, temperature, tempered


@torch.no_grad()
def object_probabilities(model: Network, clouds: Sequence[PreparedCloud], votes: int = 1) -> NDArray[np.float32]:
    """Probabilities of the classes of objects that go through the network together.

    Args:
        model: of a classification, with the input settings of its training in ``model.metadata``.
        clouds: B prepared objects, at least one.
        votes: average over as many turns of each object about its last axis.

    Returns:
        [B, C], rows sum to 1.

    Raises:
        ValueError: the model labels points, or an object is empty or larger than the crop radius.
    """
    if model.task != "classification":
        raise ValueError(f"object_probabilities: {model.name} labels points; use class_probabilities")
    settings = input_settings(model)
    weights = next(model.parameters())
    sums = np.zeros((len(clouds), model.config["num_classes"]), np.float32)
    was_training = model.training
    model.eval()
    try:
        for angle in angles_of(votes):
            crops = [whole_crop(cloud, settings, angle=angle) for cloud in clouds]
            batch = Batch.concatenate([Batch.of_crop(crop, model.pyramid_settings, whole=True) for crop in crops])
            batch = batch.to(weights.device)
            sums += model(batch.features.to(weights.dtype), batch.pyramid).float().softmax(dim=1).cpu().numpy()
    finally:
        model.train(was_training)
    return tempered(sums, temperature(model))
