"""The --model argument of evaluate and predict: a model file or the folder of a run."""

from __future__ import annotations

from pathlib import Path

from gridless.models import load_model
from gridless.models.base import Network
from gridless.training.layout import MODEL_FILE


def load_model_or_run(path: Path) -> Network:
    """Load a model file, or the model of a run's folder."""
    return load_model(path / MODEL_FILE if path.is_dir() else path)
