"""A small training on simulated flights, as files."""

import yaml

import gridless as gl
from gridless.data.simulation import simulate_airborne_lidar


def write_recipe(folder, num_scenes, schedule, dropout=0.0):
    """Scenes and a recipe that learns from them; returns the recipe's file."""
    names = [f"scene_{seed}.laz" for seed in range(1, num_scenes + 1)]
    for seed, name in enumerate(names, start=1):
        gl.write(folder / name, simulate_airborne_lidar(seed, (30.0, 30.0), density=3.0))
    config = {"channels": [8, 16], "blocks": [1, 1], "dropout": dropout}
    recipe = {
        "data": {"train": names},
        "labels": {"classes": {"ground": [2], "shrub": [3], "tree": [5]}, "ignored": [6, 14, 15, 64]},
        "inputs": {"features": [{"name": "height_above_ground", "scale": 3}], "voxel_size": 1.0, "crop_radius": 6},
        "network": {"name": "pccn_unet", "config": config},
        "schedule": {"workers": 0, **schedule},
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file
