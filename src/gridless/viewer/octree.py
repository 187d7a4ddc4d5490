"""Octree: which points of a large cloud a camera needs, under a budget.

Every node holds a sample of the points in its cube, and its children hold those that are left: a node drawn together
with its ancestors shows its cube at one level of detail, and no point is drawn twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_LEVELS = 21  # 3 × 21 bits of a Morton code fit into 64


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Args:
        position: [3] in the frame of the points.
        rotation: [3, 3], columns right, down and forward of the camera in the frame of the points.
        fov: vertical field of view in radians.
        width: of the picture in pixels.
        height: of the picture in pixels.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    fov: float
    width: int
    height: int

    def spheres(self, centers: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
        """Radius in pixels of each sphere as seen [S]: 0 outside the picture, infinite around the camera."""
        right, down, forward = self.rotation.T @ (centers - self.position).T
        slope_down = np.tan(self.fov / 2)
        slope_right = slope_down * self.width / self.height
        visible = forward > -radii
        for sideways, slope in ((right, slope_right), (down, slope_down)):
            # distance to the slanted side plane of the picture's pyramid
            visible &= (np.abs(sideways) - slope * forward) / np.hypot(1, slope) < radii
        distance = np.linalg.norm(centers - self.position, axis=1)
        focal = self.height / (2 * slope_down)
        with np.errstate(divide="ignore"):
            pixels = np.where(distance > radii, focal * radii / np.maximum(distance - radii, 0), np.inf)
        return np.where(visible, pixels, 0.0)


@dataclass(frozen=True, eq=False)
class Octree:
    """Points of a cloud ordered by node; nodes come level by level, the root first.

    Args:
        order: [N] indices of the cloud's points, those of a node together.
        starts: [T + 1] place in ``order`` of each node's first point.
        levels: [T] 0 for the root.
        parents: [T] number of the parent; the root is its own.
        centers: [T, 3] of the cubes.
        radii: [T] of the spheres around the cubes.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    levels: NDArray[np.int64]
    parents: NDArray[np.int64]
    centers: NDArray[np.float64]
    radii: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of nodes T."""
        return len(self.levels)

    @staticmethod
    def build(positions: NDArray[np.float32], capacity: int = 16_384) -> Octree:
        """Sort points into nodes.

        Time grows with N log N for one sort, and with N for each of the few levels.

        Args:
            positions: [N, 3], finite.
            capacity: largest number of points in a node, except for points that share a cube of the last level.

        Raises:
            ValueError: positions are not [N, 3] or not finite, or ``capacity`` is below 1.

        Example:
            >>> tree = Octree.build(np.random.default_rng(0).random((1000, 3), dtype=np.float32), capacity=200)
            >>> len(tree), int(np.diff(tree.starts).max())
            (9, 200)
        """
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise ValueError(f"Octree.build: positions must be [N, 3], got shape {positions.shape}")
        if capacity < 1:
            raise ValueError(f"Octree.build: capacity must be at least 1, got {capacity}")
        if not np.isfinite(positions).all():
            raise ValueError("Octree.build: positions must be finite")
        low, edge = _cube_around(positions)
        codes = _morton_codes(positions, low, edge)
        left = np.argsort(codes, kind="stable")
        codes = codes[left]
        orders, counts, levels, cells = [], [], [], []
        for level in range(_MOST_LEVELS + 1):
            if not len(left):
                break
            cell = codes >> np.uint64(3 * (_MOST_LEVELS - level))
            first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
            size = np.diff(np.r_[first, len(left)])
            # Evenly along the curve through a cube: a sample that is even in space too.
            share = size if level == _MOST_LEVELS else np.minimum(size, capacity)
            rank = np.arange(len(left)) - np.repeat(first, size)
            per_point_share, per_point_size = np.repeat(share, size), np.repeat(size, size)
            taken = (rank + 1) * per_point_share // per_point_size > rank * per_point_share // per_point_size
            orders.append(left[taken])
            counts.append(share)
            levels.append(np.full(len(first), level))
            cells.append(cell[first])
            left, codes = left[~taken], codes[~taken]
        return _assembled(orders, counts, levels, cells, low, edge)

    def points_of(self, node: int) -> NDArray[np.int64]:
        """Indices of the points that a node holds."""
        return self.order[self.starts[node] : self.starts[node + 1]]

    def nodes_for(self, camera: Camera, budget: int, smallest: float = 48.0) -> NDArray[np.int64]:
        """The nodes that a camera needs: those that look largest, each after its ancestors.

        Args:
            camera: in the frame of the positions.
            budget: largest number of points in all.
            smallest: pixels of a node's radius below which its parent's points are enough.

        Returns:
            Node numbers, the most needed first.

        Example:
            >>> tree = Octree.build(np.random.default_rng(0).random((1000, 3), dtype=np.float32), capacity=200)
            >>> camera = Camera(np.array([0.5, 0.5, -2.0]), np.eye(3), 1.0, 800, 600)
            >>> tree.nodes_for(camera, budget=300).tolist()[0], len(tree.nodes_for(camera, budget=1000))
            (0, 9)
        """
        pixels = camera.spheres(self.centers, self.radii)
        for level in range(1, int(self.levels.max(initial=0)) + 1):
            nodes = np.flatnonzero(self.levels == level)
            # a node never before its parent, whatever rounding says
            pixels[nodes] = np.minimum(pixels[nodes], pixels[self.parents[nodes]])
        wanted = np.flatnonzero((pixels > 0) & ((pixels >= smallest) | (self.levels == 0)))
        # nodes are numbered level by level, so that a stable sort keeps parents first among equals
        wanted = wanted[np.argsort(-pixels[wanted], kind="stable")]
        return wanted[np.cumsum(np.diff(self.starts)[wanted]) <= budget]


def _cube_around(positions: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    if not len(positions):
        return np.zeros(3), 1.0
    low, high = positions.min(axis=0).astype(float), positions.max(axis=0).astype(float)
    edge = float((high - low).max())
    return low, edge if edge > 0 else 1.0


def _morton_codes(positions: NDArray[np.float32], low: NDArray[np.float64], edge: float) -> NDArray[np.uint64]:
    """Place of each point on the Morton curve: the bits of its three cell numbers, interleaved."""
    codes = np.zeros(len(positions), np.uint64)
    last = 2**_MOST_LEVELS - 1
    for axis in range(3):
        scaled = (positions[:, axis] - low[axis]) * (2**_MOST_LEVELS / edge)
        codes |= _spread(np.clip(scaled, 0, last).astype(np.uint64)) << np.uint64(axis)
    return codes


def _spread(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 21 low bits with two zeros between one another."""
    for shift, mask in (
        (32, 0x001F00000000FFFF),
        (16, 0x001F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        numbers = (numbers | (numbers << np.uint64(shift))) & np.uint64(mask)
    return numbers


def _gathered(codes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Cell numbers [T, 3] of Morton codes."""
    cells = np.zeros((len(codes), 3))
    for bit in range(_MOST_LEVELS):
        for axis in range(3):
            cells[:, axis] += ((codes >> np.uint64(3 * bit + axis)) & np.uint64(1)) * 2.0**bit
    return cells


def _assembled(
    orders: list[NDArray[np.int64]],
    counts: list[NDArray[np.int64]],
    levels: list[NDArray[np.int64]],
    cells: list[NDArray[np.uint64]],
    low: NDArray[np.float64],
    edge: float,
) -> Octree:
    if not orders:
        none = np.zeros(0, np.int64)
        return Octree(none, np.zeros(1, np.int64), none, none, np.zeros((0, 3)), np.zeros(0))
    parents, centers, radii, before = [np.zeros(1, np.int64)], [], [], 0
    for level, codes in enumerate(cells):
        if level:
            above = cells[level - 1]
            parents.append(before - len(above) + np.searchsorted(above, codes >> np.uint64(3)))
        before += len(codes)
        side = edge / 2**level
        centers.append(low + (_gathered(codes) + 0.5) * side)
        radii.append(np.full(len(codes), side * np.sqrt(3) / 2))
    return Octree(
        np.concatenate(orders),
        np.r_[0, np.cumsum(np.concatenate(counts))],
        np.concatenate(levels),
        np.concatenate(parents),
        np.concatenate(centers),
        np.concatenate(radii),
    )
