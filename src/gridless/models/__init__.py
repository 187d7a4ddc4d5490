"""Networks by task, and their files on disk."""

from gridless.models.base import Network
from gridless.models.ensemble import Ensemble
from gridless.models.export import export_model
from gridless.models.files import MODEL_FILE, load_model, save_model
from gridless.models.pretrained import DENSE_FROM, PRETRAINED, airborne_network, pretrained_file
from gridless.models.registry import MODELS, SIZES, build_model

__all__ = [
    "DENSE_FROM",
    "MODELS",
    "MODEL_FILE",
    "PRETRAINED",
    "SIZES",
    "Ensemble",
    "Network",
    "airborne_network",
    "build_model",
    "export_model",
    "load_model",
    "pretrained_file",
    "save_model",
]
