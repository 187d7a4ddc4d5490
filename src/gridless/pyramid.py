"""The levels of clouds, each with fewer points, and the neighborhoods within and between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gridless.arguments import check_batch
from gridless.neighbors import Neighborhoods, PointIndex
from gridless.subsample import voxel_grid


@dataclass(frozen=True)
class PyramidSettings:
    """Which levels and neighborhoods a network works on.

    Args:
        voxel_sizes: edge of the voxels, in the unit of the positions, that keep one point each, for levels 1, 2, …;
            level 0 is the given points. Empty: a single level.
        num_neighbors: K nearest neighbors within a level.
        pooling_neighbors: nearest finer points that a point of the next level pools.
        upsampling_neighbors: nearest coarser points from which a finer point is interpolated.
        finest_neighbors: K within level 0 where that differs; 1 where nothing is convolved there.

    Raises:
        ValueError: a size or number is not positive, or the sizes do not grow.
    """

    voxel_sizes: tuple[float, ...] = ()
    num_neighbors: int = 16
    pooling_neighbors: int = 16
    upsampling_neighbors: int = 3
    finest_neighbors: int | None = None

    def __post_init__(self) -> None:
        sizes = (0.0, *self.voxel_sizes)
        if not all(before < after for before, after in itertools.pairwise(sizes)):
            raise ValueError(f"PyramidSettings: voxel_sizes must be positive and growing, got {self.voxel_sizes}")
        for name in ("num_neighbors", "pooling_neighbors", "upsampling_neighbors", "finest_neighbors"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"PyramidSettings: {name} must be at least 1, got {number}")


@dataclass(frozen=True)
class Level:
    """One level: its points and their supports.

    Args:
        positions: [N, D] float32, local coordinates.
        batch: [N] int64, cloud of each point, ascending.
        neighborhoods: supports within the level.
        pooling: supports of this level's points among the finer level's; None at level 0.
        upsampling: supports of the finer level's points among this level's; None at level 0.
    """

    positions: Tensor
    batch: Tensor
    neighborhoods: Neighborhoods
    pooling: Neighborhoods | None = None
    upsampling: Neighborhoods | None = None


@dataclass(frozen=True)
class Pyramid:
    """All levels of one or several clouds, finest first.

    Example:
        >>> pyramid = Pyramid.build(torch.rand(500, 3) * 10, PyramidSettings(voxel_sizes=(2.0, 5.0)))
        >>> [level.positions.shape[0] for level in pyramid.levels][0], len(pyramid.levels)
        (500, 3)
    """

    levels: tuple[Level, ...]
    num_clouds: int

    @staticmethod
    def build(positions: Tensor, settings: PyramidSettings, batch: Tensor | None = None) -> Pyramid:
        """Subsample and search, on the device of the points; on the CPU in a loader's workers.

        Args:
            positions: [N, D] local coordinates.
            settings: levels and numbers of neighbors.
            batch: [N] int64, cloud of each point, ascending; None is a single cloud.

        Raises:
            TypeError: batch is not int64.
            ValueError: batch is not [N], holds a negative number or is not ascending.
        """
        if batch is None:
            batch = torch.zeros(positions.shape[0], dtype=torch.int64, device=positions.device)
            num_clouds = 1
        else:
            check_batch("Pyramid.build", "batch", batch, positions.shape[0])
            if bool((batch.diff() < 0).any()):
                raise ValueError("Pyramid.build: batch must be ascending; sort the points by cloud first")
            if bool((batch < 0).any()):
                raise ValueError(f"Pyramid.build: batch must number clouds from 0, got {int(batch[0])}")
            num_clouds = int(batch[-1]) + 1 if batch.numel() else 0

        def index_of(points: Tensor, clouds: Tensor) -> PointIndex:
            return PointIndex(points, None if num_clouds == 1 else clouds, function="Pyramid.build")

        def search(index: PointIndex, queries: Tensor, clouds: Tensor, k: int) -> Neighborhoods:
            return index.knn(queries, k, None if num_clouds == 1 else clouds)

        index = index_of(positions, batch)
        finest = settings.finest_neighbors or settings.num_neighbors
        levels = [Level(positions, batch, search(index, positions, batch, finest))]
        for size in settings.voxel_sizes:
            finer, finer_index = levels[-1], index
            kept = voxel_grid(finer.positions, size, None if num_clouds == 1 else finer.batch)
            points, clouds = finer.positions[kept], finer.batch[kept]
            index = index_of(points, clouds)
            levels.append(
                Level(
                    points,
                    clouds,
                    search(index, points, clouds, settings.num_neighbors),
                    search(finer_index, points, clouds, settings.pooling_neighbors),
                    search(index, finer.positions, finer.batch, settings.upsampling_neighbors),
                )
            )
        return Pyramid(tuple(levels), num_clouds)

    @staticmethod
    def concatenate(pyramids: Sequence[Pyramid]) -> Pyramid:
        """Several pyramids of the same settings as one, whose clouds stay apart.

        Raises:
            ValueError: there are none, or they differ in their number of levels.
        """
        if not pyramids:
            raise ValueError("Pyramid.concatenate: give at least one pyramid, got none")
        depths = {len(pyramid.levels) for pyramid in pyramids}
        if len(depths) != 1:
            raise ValueError(f"Pyramid.concatenate: all pyramids must have as many levels, got {sorted(depths)}")
        levels = []
        for depth in range(depths.pop()):
            parts = [pyramid.levels[depth] for pyramid in pyramids]
            finer = [pyramid.levels[max(depth - 1, 0)] for pyramid in pyramids]
            batches, first_cloud = [], 0
            for pyramid, part in zip(pyramids, parts, strict=True):
                batches.append(part.batch + first_cloud)
                first_cloud += pyramid.num_clouds
            counts = [len(part.positions) for part in parts]
            finer_counts = [len(part.positions) for part in finer]
            pooling = [part.pooling for part in parts if part.pooling is not None]
            upsampling = [part.upsampling for part in parts if part.upsampling is not None]
            levels.append(
                Level(
                    torch.cat([part.positions for part in parts]),
                    torch.cat(batches),
                    Neighborhoods.concatenate([part.neighborhoods for part in parts], counts),
                    Neighborhoods.concatenate(pooling, finer_counts) if pooling else None,
                    Neighborhoods.concatenate(upsampling, counts) if upsampling else None,
                )
            )
        return Pyramid(tuple(levels), sum(pyramid.num_clouds for pyramid in pyramids))

    def tensors(self) -> list[Tensor]:
        """All tensors in a fixed order, for what takes nothing else, such as an exported network.

        Of each level its positions [N, D], batch [N], and indices [E] and offsets [N + 1] of its supports, then but for
        level 0 those of pooling and of upsampling: 4 tensors of level 0, 8 of every other.
        """
        return [
            tensor
            for level in self.levels
            for tensor in (
                level.positions,
                level.batch,
                *(
                    tensor
                    for rows in (level.neighborhoods, level.pooling, level.upsampling)
                    if rows is not None
                    for tensor in (rows.indices, rows.offsets)
                ),
            )
        ]

    @staticmethod
    def from_tensors(tensors: Sequence[Tensor], num_clouds: int = 1) -> Pyramid:
        """The reverse of :meth:`tensors`.

        Raises:
            ValueError: not 4 + 8 k tensors.

        Example:
            >>> pyramid = Pyramid.build(torch.rand(50, 3), PyramidSettings(voxel_sizes=(0.5,), num_neighbors=4))
            >>> len(pyramid.tensors()), len(Pyramid.from_tensors(pyramid.tensors()).levels)
            (12, 2)
        """
        if len(tensors) < 4 or (len(tensors) - 4) % 8:
            raise ValueError(f"Pyramid.from_tensors: expected 4 tensors and 8 more for each level, got {len(tensors)}")
        levels = []
        for start in (0, *range(4, len(tensors), 8)):
            positions, batch, *rows = tensors[start : start + (8 if start else 4)]
            supports = [Neighborhoods(*pair) for pair in zip(rows[::2], rows[1::2], strict=True)]
            levels.append(Level(positions, batch, *supports))
        return Pyramid(tuple(levels), num_clouds)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Pyramid:
        """The same levels on another device."""
        levels = tuple(
            Level(
                level.positions.to(device, non_blocking=non_blocking),
                level.batch.to(device, non_blocking=non_blocking),
                level.neighborhoods.to(device, non_blocking),
                None if level.pooling is None else level.pooling.to(device, non_blocking),
                None if level.upsampling is None else level.upsampling.to(device, non_blocking),
            )
            for level in self.levels
        )
        return Pyramid(levels, self.num_clouds)
