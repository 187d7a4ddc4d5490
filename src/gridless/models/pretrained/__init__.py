"""Networks that come with the package, trained and ready; each has a model card beside its weights."""

from __future__ import annotations

from pathlib import Path

PRETRAINED = ("airborne",)


def pretrained_file(name: str) -> Path:
    """The model file of a network that comes with the package.

    Args:
        name: "airborne": ground, vegetation and building in airborne LiDAR (see ``airborne.md``).

    Raises:
        ValueError: no such network.

    Example:
        >>> from gridless.models import load_model
        >>> load_model(pretrained_file("airborne")).metadata["labels"]["classes"]["building"]
        [6]
    """
    if name not in PRETRAINED:
        raise ValueError(f"pretrained_file: name must be one of {', '.join(PRETRAINED)}, got {name!r}")
    return Path(__file__).with_name(f"{name}.safetensors")
