"""The moving average of the weights is exported with statistics of its own."""

from pathlib import Path

import torch

import gridless as gl
from gridless.data import Batch, StreamedClouds, StreamedCrops
from gridless.training import fit, load_recipe
from tests.data.published import layouts

RECIPE = Path(__file__).parents[2] / "recipes" / "modelnet10.yaml"


def test_batch_statistics_are_those_of_the_averaged_weights(tmp_path):
    overrides = {
        "data.path": str(layouts.sampled_objects(tmp_path / "data")),
        "data.validation": ["test"],
        "output": str(tmp_path / "run"),
        "network.config": {"spacing": 0.2, "channels": [8, 16], "blocks": [1, 1]},
        "schedule.steps": 12,
        "schedule.steps_per_epoch": 12,
        "schedule.crops_per_step": 4,
        "schedule.learning_rate": 0.02,
        "schedule.average_decay": 0.8,
        "schedule.workers": 0,
    }
    recipe = load_recipe(RECIPE, overrides)
    fit(recipe, progress_bar=False)
    model = gl.load_model(tmp_path / "run" / "model.safetensors")
    data = recipe.data.open()
    clouds = StreamedClouds(data, data.files("train"), recipe.inputs, recipe.labels)
    names, pyramid = recipe.labels.names, model.pyramid_settings
    crops = StreamedCrops(clouds, names, recipe.inputs, pyramid, recipe.sampler, recipe.augmentation, 0, 48)
    inputs = []
    normalization = model.encoder.stages[1][0].up[1]
    normalization.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    exported = normalization.running_mean.clone()
    model.train()
    for step in range(2, 12):
        batch = Batch.concatenate([crops[index] for index in range(4 * step, 4 * step + 4)])
        model(batch.features, batch.pyramid)
    means = torch.stack([rows.mean(dim=0) for rows in inputs]).mean(dim=0)
    torch.testing.assert_close(exported, means, rtol=1e-3, atol=1e-4)
