"""Networks on disk: one safetensors file, with configuration and notes as JSON in its header."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.models.base import Network
from gridless.models.registry import MODELS, build_model

MODEL_FILE = "model.safetensors"
"""Name of the model in a run's folder."""
_FORMAT = "gridless-model-1"


def save_model(path: str | Path, model: Network, *, half: bool = False) -> None:
    """Write weights, configuration and metadata of ``model``; the file appears only when it is complete.

    Args:
        path: the file, by custom ``*.safetensors``.
        model: any network of ``build_model``.
        half: write numbers in float16, half as many bytes with eleven bits of each; they are read as float32.

    Raises:
        ValueError: a number that is too large for float16.

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
    if half:
        tensors = {name: _halved(tensor, name) for name, tensor in tensors.items()}
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
            config = json.loads(header["config"])
            stored = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            with torch.device("meta"), _at_most_parameters(path, len(stored)):
                shapes = build_model(header["name"], **config).state_dict()
            expected = {name: list(tensor.shape) for name, tensor in shapes.items()}
            for name in sorted(stored.keys() | expected.keys()):
                if stored.get(name) != expected.get(name):
                    raise ReadError(
                        path,
                        f"tensor {name!r} has shape {stored.get(name)}, the configuration asks {expected.get(name)}",
                    )
            model = build_model(header["name"], **config)
            model.metadata = json.loads(header["metadata"])
            model.load_state_dict({name: file.get_tensor(name) for name in stored})
    except ReadError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ReadError(path, f"damaged model file: {error}") from error
    return model.to(device).eval()


def _halved(tensor: Tensor, name: str) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.to(torch.float16)
    if not torch.equal(halved.isfinite(), tensor.isfinite()):
        raise ValueError(f"save_model: half: {name} has numbers beyond {torch.finfo(torch.float16).max:.0f}")
    return halved


@contextlib.contextmanager
def _at_most_parameters(path: Path, limit: int) -> Iterator[None]:
    """Stop the building of a network of more tensors than its file holds, however many its configuration asks for."""
    count = 0

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += parameter is not None
        if count > limit:
            raise ReadError(path, f"holds {limit} tensors, the configuration asks for more")

    hook = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        hook.remove()
