"""Recipes and the training loop; the only place that imports lightning."""

from gridless.training.clouds import open_clouds
from gridless.training.curves import read_curves
from gridless.training.fit import TrainedRun, fit
from gridless.training.layout import RECIPE_FILE
from gridless.training.module import DivergedError
from gridless.training.processes import is_first_process
from gridless.training.recipe import Recipe, TrainingFiles, load_recipe, write_recipe
from gridless.training.threads import threads_beside_workers

__all__ = [
    "RECIPE_FILE",
    "DivergedError",
    "Recipe",
    "TrainedRun",
    "TrainingFiles",
    "fit",
    "is_first_process",
    "load_recipe",
    "open_clouds",
    "read_curves",
    "threads_beside_workers",
    "write_recipe",
]
