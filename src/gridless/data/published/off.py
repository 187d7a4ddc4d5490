"""OFF meshes, and points drawn evenly from their surface."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.errors import ReadError

_LARGEST = 1e100  # products of three are areas and volumes


def read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3] of an OFF file; larger faces are split into fans.

    The counts may follow "OFF" on the next line or, as in many files of ModelNet40, on the same one without a space.

    Raises:
        ReadError: not an OFF file, cut short, or a face that names a vertex which is not there.
    """
    content = path.read_bytes()
    if not content.startswith(b"OFF"):
        raise ReadError(path, f"not an OFF file: starts with {content[:4]!r}, expected b'OFF'", "byte 0")
    try:
        numbers = np.array(content[3:].split(), dtype=np.float64)
    except ValueError as error:
        raise ReadError(path, f"expected numbers after OFF: {error}") from error
    if len(numbers) < 3:
        raise ReadError(path, "the numbers of vertices, faces and edges are missing")
    num_vertices, num_faces = int(numbers[0]), int(numbers[1])
    vertices, rest = numbers[3 : 3 + 3 * num_vertices], numbers[3 + 3 * num_vertices :]
    if len(vertices) < 3 * num_vertices or len(rest) < num_faces:
        raise ReadError(path, f"promises {num_vertices} vertices and {num_faces} faces, but the file is cut short")
    if not (np.abs(numbers) < _LARGEST).all():
        raise ReadError(path, f"holds a number that is not finite or not below {_LARGEST:g}")
    triangles = _triangles(path, rest.astype(np.int64), num_faces)
    if len(triangles) and not 0 <= triangles.min() <= triangles.max() < num_vertices:
        raise ReadError(path, f"a face names a vertex outside 0 .. {num_vertices - 1}")
    return vertices.reshape(-1, 3), triangles


def points_on_surface(
    vertices: NDArray[np.float64], triangles: NDArray[np.int64], num_points: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points [num_points, 3] spread evenly over the area of triangles (over the vertices if there is no area).

    Args:
        vertices: [V, 3], at least one.
        triangles: [F, 3] rows of ``vertices``.
        num_points: how many.
        rng: of the draws.

    Source: Osada et al., "Shape distributions", ACM TOG 21(4), 2002, for the square root.

    Example:
        >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
        >>> points = points_on_surface(square, np.array([[0, 1, 2], [0, 2, 3]]), 1000, np.random.default_rng(0))
        >>> bool(np.abs(points.mean(axis=0) - [0.5, 0.5, 0]).max() < 0.05)
        True
    """
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not areas.sum() > 0:
        return vertices[rng.integers(len(vertices), size=num_points)]
    drawn = rng.choice(len(triangles), num_points, p=areas / areas.sum())
    along, across = np.sqrt(rng.random((num_points, 1))), rng.random((num_points, 1))
    points: NDArray[np.float64] = (1 - along) * a[drawn] + along * ((1 - across) * b[drawn] + across * c[drawn])
    return points


def _triangles(path: Path, faces: NDArray[np.int64], num_faces: int) -> NDArray[np.int64]:
    if len(faces) >= 4 * num_faces and (faces[: 4 * num_faces : 4] == 3).all():
        return faces[: 4 * num_faces].reshape(-1, 4)[:, 1:]
    triangles: list[tuple[int, int, int]] = []
    place = 0
    for _ in range(num_faces):
        corners = faces[place + 1 : place + 1 + int(faces[place])] if place < len(faces) else faces[:0]
        if place >= len(faces) or len(corners) < faces[place]:
            raise ReadError(path, f"promises {num_faces} faces, but the file is cut short")
        triangles += [(int(corners[0]), int(p), int(q)) for p, q in itertools.pairwise(corners[1:])]
        place += 1 + len(corners)
    return np.array(triangles, np.int64).reshape(-1, 3)
