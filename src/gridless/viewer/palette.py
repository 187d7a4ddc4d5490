"""Colors of classes: by meaning where the name tells it, else from a palette safe for color-blind readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# The first word found in a class name decides; close to the colors LiDAR software gives the ASPRS classes.
_COLOR_BY_WORD = {
    "low veg": "#9acd32",
    "medium veg": "#4daf4a",
    "high veg": "#1b7837",
    "vegetation": "#2e9e5b",
    "tree": "#1b7837",
    "ground": "#a6764b",
    "terrain": "#a6764b",
    "building": "#d9534f",
    "roof": "#d9534f",
    "water": "#2b8cbe",
    "bridge": "#8c6bb1",
    "road": "#6b7280",
    "vehicle": "#4263eb",
    "car": "#4263eb",
    "truck": "#2c3e9e",
    "wire": "#f0b400",
    "power": "#f0b400",
    "pole": "#c2479e",
    "fence": "#e07b39",
}
_PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7a5195", "#b8a800",
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#cc6677", "#882255", "#aa4499",
)  # fmt: skip
_ALIKE = 45  # between colors of 0 to 255 a channel
RIGHT, WRONG, UNLABELED = "#56a0d3", "#d55e00", "#9aa0a6"


def class_colors(class_names: Sequence[str], given: Mapping[str, str] | None = None) -> list[str]:
    """One color per class, distinct as long as the palette lasts.

    Args:
        class_names: C names.
        given: name -> CSS hex color (``#rrggbb``) that overrides the default.

    Returns:
        C colors as ``#rrggbb``.

    Raises:
        ValueError: a given color is not ``#rrggbb``.

    Example:
        >>> class_colors(["ground", "kiosk"], {"kiosk": "#112233"})
        ['#a6764b', '#112233']
    """
    chosen: dict[int, str] = {}
    for place, name in enumerate(class_names):
        color = (given or {}).get(name)
        if color is not None:
            if len(color) != 7 or color[0] != "#" or not set(color[1:].lower()) <= set("0123456789abcdef"):
                raise ValueError(f"class_colors: the color of class {name!r} must be '#rrggbb', got {color!r}")
            chosen[place] = color
            continue
        meant = next((value for word, value in _COLOR_BY_WORD.items() if word in name.lower()), None)
        if meant is not None and meant not in chosen.values():
            chosen[place] = meant
    # Names that mean nothing come last, so that none takes a color close to one with a meaning.
    for place in range(len(class_names)):
        if place not in chosen:
            chosen[place] = _next_unused(list(chosen.values()))
    return [chosen[place] for place in range(len(class_names))]


def _next_unused(chosen: Sequence[str]) -> str:
    unused = [color for color in _PALETTE if color not in chosen]
    apart = [color for color in unused if all(_distance(color, other) > _ALIKE for other in chosen)]
    return (apart or unused or [_PALETTE[len(chosen) % len(_PALETTE)]])[0]


def _distance(one: str, other: str) -> float:
    return math.dist(*(bytes.fromhex(color[1:]) for color in (one, other)))
