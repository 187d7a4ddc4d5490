"""Networks on disk: one safetensors file, with configuration and notes as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.models.base import Network
from gridless.models.registry import MODELS, build_model

_FORMAT = "gridless-model-1"


def save_model(path: str | Path, model: Network) -> None:
    """Write weights, configuration and metadata of ``model``; the file appears only when it is complete.

    Args:
        path: the file, by custom ``*.safetensors``.
        model: any network of ``build_model``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/model.safetensors", build_model("pccn", in_channels=1, num_classes=2))
        ...     load_model(f"{folder}/model.safetensors").config["num_classes"]
        2
    """
    header = {
        "format": _FORMAT,
        "name": model.name,
        "config": json.dumps(model.config),
        "metadata": json.dumps(model.metadata),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replaced_when_complete(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))  # save_file would hide the number of an OSError


def load_model(path: str | Path, device: torch.device | str = "cpu") -> Network:
    """Read a network that ``save_model`` wrote; nothing in the file is executed.

    Args:
        path: the file.
        device: where the weights go.

    Returns:
        The network in evaluation mode, with its ``metadata``.

    Raises:
        FileNotFoundError: there is no such file.
        ReadError: the file is damaged, or not a gridless model, or its weights do not fit its configuration.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT or header.get("name") not in MODELS:
                raise ReadError(
                    path, f"not a gridless model (format {header.get('format')!r}, name {header.get('name')!r})"
                )
            model = build_model(header["name"], **json.loads(header["config"]))
            model.metadata = json.loads(header["metadata"])
            stored = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
            for name in sorted(stored.keys() | expected.keys()):
                if stored.get(name) != expected.get(name):
                    raise ReadError(
                        path,
                        f"tensor {name!r} has shape {stored.get(name)}, the configuration asks {expected.get(name)}",
                    )
            model.load_state_dict({name: file.get_tensor(name) for name in stored})
    except ReadError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ReadError(path, f"damaged model file: {error}") from error
    return model.to(device).eval()
