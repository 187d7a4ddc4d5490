"""What commands take as a model: a model file, the folder of a run, or a network of the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gridless.data import find_files
from gridless.models import DENSE_FROM, MODEL_FILE, PRETRAINED, airborne_network, load_model, pretrained_file
from gridless.models.base import Network
from gridless.prediction import ground_density

#: The network of the package that suits the density of the files.
BY_DENSITY = "airborne"


def model_file(model: Path, files: Sequence[str] = ()) -> Path:
    """The file that the argument means; a file or folder of that name goes before a network of the package.

    Args:
        model: as the user gave it.
        files: names or patterns of those that the model is for, which "airborne" depends on; without any it is that of
            dense clouds.
    """
    if model.is_dir():
        return model / MODEL_FILE
    name = str(model)
    if model.exists() or name not in (*PRETRAINED, BY_DENSITY):
        return model
    if name == BY_DENSITY:
        found = find_files(files, Path.cwd())
        name = airborne_network(ground_density(found, enough=DENSE_FROM) if found else DENSE_FROM)
    return pretrained_file(name)


def load_model_or_run(model: Path, files: Sequence[str] = ()) -> Network:
    """Load what the argument means."""
    return load_model(model_file(model, files))
