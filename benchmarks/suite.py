"""The cases as data: what ``cases.yaml`` holds, checked key by key."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from gridless.data import settings_from_plain

Pass = Literal["forward", "forward + backward"]

CASES_FILE = Path(__file__).with_name("cases.yaml")


@dataclass(frozen=True)
class Sizes:
    """A layer over random points of which each is a source and a query.

    Args:
        points: N = M.
        neighbors: K.
        in_channels: C_in.
        out_channels: C_out.
        hidden: widths of the kernel MLP's hidden layers.
    """

    points: int = 16384
    neighbors: int = 16
    in_channels: int = 64
    out_channels: int = 64
    hidden: tuple[int, ...] = (16, 32)

    @property
    def pairs(self) -> int:
        """E."""
        return self.points * self.neighbors

    @property
    def kernel_width(self) -> int:
        """H: the last hidden layer and the constant that carries the bias."""
        return self.hidden[-1] + 1

    def useful_flops(self, passes: Pass) -> float:
        """What the formula needs in the cheaper order, nothing computed twice; a backward pass is two forward ones."""
        width, kernels = self.kernel_width, self.kernel_width * self.in_channels * self.out_channels
        aggregate_first = self.pairs * width * self.in_channels + self.points * kernels
        transform_first = self.points * kernels + self.pairs * width * self.out_channels
        widths = (3, *self.hidden)
        network = self.pairs * sum(before * after for before, after in itertools.pairwise(widths))
        forward = 2.0 * (min(aggregate_first, transform_first) + network)
        return forward if passes == "forward" else 3 * forward


@dataclass(frozen=True)
class LayerCase:
    """Times of one layer; every contender that computes the same function must agree first.

    Args:
        title: what the report calls it.
        sizes: of the layer.
        passes: which passes are timed.
        against: names of rivals; "implementations" stands for all of the library's own.
        tolerance: largest difference of output and gradients, as a part of the largest value.
        repeats: rounds in which every contender has one turn.
        seconds: after so long no further round begins.
    """

    title: str
    sizes: Sizes = field(default_factory=Sizes)
    passes: tuple[Pass, ...] = ("forward", "forward + backward")
    against: tuple[str, ...] = ()
    tolerance: float = 1e-4
    repeats: int = 7
    seconds: float = 40.0


@dataclass(frozen=True)
class MemoryCase:
    """Peak memory of one pass, each contender in a process of its own."""

    title: str
    sizes: Sizes = field(default_factory=Sizes)
    passes: tuple[Pass, ...] = ("forward + backward",)
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScalingCase:
    """Time and peak memory while one size grows.

    Args:
        title: what the report calls it.
        axis: "points", "neighbors" or "channels" (in and out).
        values: of the axis.
        sizes: what is held.
        passes: the pass that is measured.
        against: see ``LayerCase``.
        tolerance: see ``LayerCase``.
        repeats: see ``LayerCase``.
        seconds: see ``LayerCase``.
    """

    title: str
    axis: Literal["points", "neighbors", "channels"]
    values: tuple[int, ...]
    sizes: Sizes = field(default_factory=Sizes)
    passes: Pass = "forward + backward"
    against: tuple[str, ...] = ()
    tolerance: float = 1e-4
    repeats: int = 3
    seconds: float = 10.0


@dataclass(frozen=True)
class TrainingCase:
    """Training steps of the default segmentation network on simulated scans, loader included.

    Args:
        title: what the report calls it.
        against: see ``LayerCase``.
        size: of the network; None for its default settings.
        crops_per_step: crops in a batch, of about 2000 points each.
        scene_size: side of the simulated scene in meters.
        tolerance: largest difference of the loss and the gradients of one step, see ``LayerCase``.
        warm_up: steps at the start of a round that do not count.
        steps: steps of a round that count.
        rounds: rounds in which every contender has one turn.
    """

    title: str
    against: tuple[str, ...] = ()
    size: str | None = None
    crops_per_step: int = 8
    scene_size: float = 60.0
    tolerance: float = 1e-2
    warm_up: int = 3
    steps: int = 6
    rounds: int = 3


@dataclass(frozen=True)
class SearchCase:
    """Searches of every point's neighbors among random points.

    Args:
        title: what the report calls it.
        task: "knn", or "within_radius" with a radius that reaches about as many neighbors.
        points: N = M.
        dims: D.
        neighbors: K.
        repeats: rounds in which each contender has one turn.
        seconds: after so long no further round begins.
    """

    title: str
    task: Literal["knn", "within_radius"]
    points: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    dims: tuple[int, ...] = (2, 3, 6)
    neighbors: int = 16
    repeats: int = 3
    seconds: float = 15


@dataclass(frozen=True)
class SubsampleCase:
    """Subsampling of random points.

    Args:
        title: what the report calls it.
        task: "voxel_grid", or "farthest".
        points: N.
        dim: D.
        one_of: a point is kept of about so many.
        repeats: rounds in which each contender has one turn.
        seconds: after so long no further round begins.
    """

    title: str
    task: Literal["voxel_grid", "farthest"]
    points: tuple[int, ...] = (10_000, 100_000)
    dim: int = 3
    one_of: int = 4
    repeats: int = 5
    seconds: float = 15


Case = LayerCase | MemoryCase | ScalingCase | TrainingCase | SearchCase | SubsampleCase


@dataclass(frozen=True)
class Goal:
    """A figure that the library is to reach.

    Args:
        figure: what the report calls it.
        case: a case by its name.
        column: of the result.
        passes: of the result.
        contender: whose row holds the figure.
        at_least: the figure must not be below it.
        at_most: the figure must not be above it.
        hoped_for: where satisfaction begins.
    """

    figure: str
    case: str
    column: str
    passes: Literal["forward", "forward + backward", "step"] = "forward + backward"
    contender: str = "auto"
    at_least: float | None = None
    at_most: float | None = None
    hoped_for: float | None = None


@dataclass(frozen=True)
class Suite:
    """All cases by kind and name, in the order of the report."""

    layers: dict[str, LayerCase] = field(default_factory=dict)
    memory: dict[str, MemoryCase] = field(default_factory=dict)
    training: dict[str, TrainingCase] = field(default_factory=dict)
    scaling: dict[str, ScalingCase] = field(default_factory=dict)
    search: dict[str, SearchCase] = field(default_factory=dict)
    subsample: dict[str, SubsampleCase] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()

    def __post_init__(self) -> None:
        for goal in self.goals:
            if goal.case not in self.cases:
                raise ValueError(f"goals: {goal.figure!r} names the case {goal.case!r}, which there is not")

    @property
    def cases(self) -> Mapping[str, Case]:
        """Every case by its name."""
        return {**self.layers, **self.memory, **self.training, **self.scaling, **self.search, **self.subsample}


def load_suite(path: Path = CASES_FILE) -> Suite:
    """Read the cases; RecipeError names the place of a wrong key or value."""
    return settings_from_plain(Suite, yaml.safe_load(path.read_text(encoding="utf-8")))
