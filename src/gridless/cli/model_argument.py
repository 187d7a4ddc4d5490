"""The --model argument of evaluate and predict: a model file, the folder of a run, or a network of the package."""

from __future__ import annotations

from pathlib import Path

from gridless.models import PRETRAINED, load_model, pretrained_file
from gridless.models.base import Network
from gridless.training.layout import MODEL_FILE


def model_file(model: Path) -> Path:
    """The file that the argument means; a file or folder of that name goes before a network of the package."""
    if model.is_dir():
        return model / MODEL_FILE
    return pretrained_file(str(model)) if str(model) in PRETRAINED and not model.exists() else model


def load_model_or_run(model: Path) -> Network:
    """Load what the argument means."""
    return load_model(model_file(model))
