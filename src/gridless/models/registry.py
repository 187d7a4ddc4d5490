"""Networks by name."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gridless.models.base import Network
from gridless.models.classifier import Classifier
from gridless.models.encoder import EncoderConfig
from gridless.models.ensemble import Ensemble
from gridless.models.pccn import PCCN
from gridless.models.pccn_unet import PCCNUNet

#: Three sizes of the networks with an encoder, by their arguments.
SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": (16, 32, 64, 128), "blocks": (1, 1, 1, 1)},
    "base": {"channels": (32, 64, 128, 256), "blocks": (1, 1, 2, 2)},
    "large": {"channels": (64, 128, 256, 512), "blocks": (2, 2, 4, 4)},
}
MODELS: dict[str, Callable[..., Network]] = {model.name: model for model in (PCCNUNet, PCCN, Classifier)}


def _ensemble(networks: Sequence[dict[str, Any]], in_channels: int, num_classes: int) -> Ensemble:
    """An ensemble from its configuration, which names in_channels and num_classes for those who only read it."""
    return Ensemble([build_model(part["name"], **part["config"]) for part in networks])


MODELS[Ensemble.name] = _ensemble


def build_model(name: str, *, size: str | None = None, **config: Any) -> Network:
    """A network with fresh weights.

    Args:
        name: "pccn_unet" (segmentation), "pccn" (the paper's segmentation network), "classifier", or "ensemble", whose
            ``networks`` are names and configurations.
        size: "small" (for CPUs), "base" or "large": channels and blocks of the networks with an encoder.
        config: its arguments; all need ``in_channels`` and ``num_classes``. They go before those of the size.

    Returns:
        The network, in training mode.

    Raises:
        ValueError: an unknown name, size or argument (the message names the nearest known one), one is missing, or of
            another type.

    Example:
        >>> build_model("pccn", in_channels=4, num_classes=3).config["num_neighbors"]
        50
    """
    if name not in MODELS:
        raise ValueError(f"build_model: name must be one of {', '.join(MODELS)}, got {name!r}{_hint(name, MODELS)}")
    known, required = _arguments(MODELS[name])
    if size is not None:
        if size not in SIZES or "blocks" not in known:
            raise ValueError(f"build_model: {name} has no size {size!r}; {', '.join(SIZES)} are sizes of encoders")
        config = SIZES[size] | config
    for key in config:
        if key not in known:
            raise ValueError(
                f"build_model: {name} has no argument {key!r}{_hint(key, known)}. It takes {', '.join(sorted(known))}"
            )
    missing = [key for key in required if key not in config]
    if missing:
        raise ValueError(f"build_model: {name} needs {', '.join(missing)}")
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
    }
    for key, value in arguments.items():
        if not _is_of(value, known[key]):
            raise ValueError(f"build_model: {name}: {key} must be {_described(known[key])}, got {config[key]!r}")
    return MODELS[name](**arguments)


def _hint(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _arguments(model: Callable[..., Network]) -> tuple[dict[str, Any], list[str]]:
    """All arguments of a model with their types, and those without a default."""
    parameters = _parameters(model)
    if any(value.kind is inspect.Parameter.VAR_KEYWORD for value in parameters.values()):
        shared = _parameters(EncoderConfig)
        parameters = shared | {
            key: value for key, value in parameters.items() if value.kind is not inspect.Parameter.VAR_KEYWORD
        }
    kinds = {key: value.annotation for key, value in parameters.items()}
    return kinds, [key for key, value in parameters.items() if value.default is inspect.Parameter.empty]


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function, eval_str=True).parameters)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a plain value is of an argument's type; a whole number is a number, True and False are none."""
    choices, parts = typing.get_origin(kind), typing.get_args(kind)
    if choices in (typing.Union, types.UnionType):
        return any(_is_of(value, part) for part in parts)
    if choices is Sequence:
        return isinstance(value, tuple) and all(_is_of(item, parts[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return kind is Any or isinstance(value, typing.get_origin(kind) or kind)


def _described(kind: Any) -> str:
    choices, parts = typing.get_origin(kind), typing.get_args(kind)
    if choices in (typing.Union, types.UnionType):
        return " or ".join(_described(part) for part in parts)
    if choices is Sequence:
        return f"a list, each item {_described(parts[0])}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(kind, "keys with values")
