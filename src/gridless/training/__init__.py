"""Recipes and the training loop; the only place that imports lightning, and only once something trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gridless.training.clouds import open_clouds
from gridless.training.curves import read_curves
from gridless.training.layout import RECIPE_FILE
from gridless.training.recipe import Recipe, TrainingFiles, load_recipe, write_recipe
from gridless.training.threads import threads_beside_workers

if TYPE_CHECKING:
    from gridless.training.module import DivergedError
    from gridless.training.processes import is_first_process
    from gridless.training.trainer import TrainedRun, fit

_NEEDS_LIGHTNING = {
    "TrainedRun": "trainer",
    "fit": "trainer",
    "DivergedError": "module",
    "is_first_process": "processes",
}

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


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_LIGHTNING:
        raise AttributeError(f"module 'gridless.training' has no attribute {name!r}")
    value = getattr(import_module(f"gridless.training.{_NEEDS_LIGHTNING[name]}"), name)
    globals()[name] = value
    return value
