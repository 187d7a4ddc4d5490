"""What every network has: the configuration that rebuilds it, its pyramid, and notes that travel with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from gridless.pyramid import Level, Pyramid, PyramidSettings


class Network(nn.Module, ABC):
    """A network on pyramids.

    Attributes:
        task: whether each point gets logits, or each cloud.
        name: under which ``build_model`` knows it.
        config: the arguments that rebuild it, plain JSON values.
        metadata: plain JSON notes saved with the weights (class names, how inputs were made); {} at first.
    """

    task: ClassVar[Literal["segmentation", "classification"]] = "segmentation"
    name: str

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.metadata: dict[str, Any] = {}

    @property
    @abstractmethod
    def pyramid_settings(self) -> PyramidSettings:
        """The pyramid that ``forward`` expects."""

    @abstractmethod
    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """features [N, C] of the points of level 0 → logits."""

    def check_inputs(self, features: Tensor, pyramid: Pyramid) -> None:
        """Raise ValueError where features or pyramid are not what this network was built for."""
        expected = self.config["in_channels"]
        num_points = pyramid.levels[0].positions.shape[0]
        if features.ndim != 2 or features.shape != (num_points, expected):
            raise ValueError(
                f"{self.name}: features must be [N = {num_points}, C = {expected}], got shape {tuple(features.shape)}"
            )
        num_levels = len(self.pyramid_settings.voxel_sizes) + 1
        if len(pyramid.levels) != num_levels:
            raise ValueError(
                f"{self.name}: the pyramid must have {num_levels} levels, got {len(pyramid.levels)}; "
                "build it with Pyramid.build(positions, model.pyramid_settings)"
            )


def require(level_part: Any, level: Level) -> Any:
    """A neighborhood between levels, which every level but the finest has."""
    assert level_part is not None, f"level with {level.positions.shape[0]} points lacks a neighborhood"
    return level_part


def require_widths(name: str, widths: Sequence[int]) -> None:
    """Raise ValueError unless there is a width and none is below 1."""
    if not widths or min(widths) < 1:
        raise ValueError(f"{name} must name at least one width, each from 1 on, got {list(widths)}")
