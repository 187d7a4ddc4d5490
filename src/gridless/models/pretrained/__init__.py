"""Networks that come with the package, trained and ready; each has a model card beside its weights."""

from __future__ import annotations

from pathlib import Path

PRETRAINED = ("airborne_dense", "airborne_sparse")
#: Points per square metre from which on ``airborne_dense`` is taken: below, its finest levels hold the same points.
DENSE_FROM = 1.0


def pretrained_file(name: str) -> Path:
    """The model file of a network that comes with the package.

    Args:
        name: "airborne_dense" or "airborne_sparse": ground, vegetation and building in airborne LiDAR, of more or of
            less than a point per square metre; each has its card, such as ``airborne_dense.md``.

    Raises:
        ValueError: no such network.

    Example:
        >>> from gridless.models import load_model
        >>> load_model(pretrained_file("airborne_dense")).metadata["labels"]["classes"]["building"]
        [6]
    """
    if name not in PRETRAINED:
        raise ValueError(f"pretrained_file: name must be one of {', '.join(PRETRAINED)}, got {name!r}")
    return Path(__file__).with_name(f"{name}.safetensors")


def airborne_network(density: float) -> str:
    """The name of the network for airborne LiDAR of so many points per square metre.

    Example:
        >>> airborne_network(0.3), airborne_network(8.0)
        ('airborne_sparse', 'airborne_dense')
    """
    return "airborne_dense" if density >= DENSE_FROM else "airborne_sparse"
