"""OFF meshes, and points drawn evenly from their surface."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.errors import ReadError

_COMMENT = re.compile(rb"#[^\r\n]*")
_LARGEST = 1e100  # products of three are areas and volumes


def read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3] of an OFF file; larger faces are split into fans.

    The counts may follow "OFF" on the next line or, as in many files of ModelNet40, on the same one without a space.
    Where each face has a line of its own, what follows its corners is its color, and not read. "#" starts a comment.

    Raises:
        ReadError: not an OFF file, cut short, or a face that names a vertex which is not there.
    """
    content = _COMMENT.sub(b"", path.read_bytes()).lstrip()
    if not content.startswith(b"OFF"):
        raise ReadError(path, f"not an OFF file: starts with {content[:4]!r}, expected b'OFF'", "byte 0")
    try:
        numbers = np.array(content[3:].split(), dtype=np.float64)
    except ValueError as error:
        raise ReadError(path, f"expected numbers after OFF: {error}") from error
    if len(numbers) < 3:
        raise ReadError(path, "the numbers of vertices, faces and edges are missing")
    if not (np.abs(numbers) < _LARGEST).all():
        raise ReadError(path, f"holds a number that is not finite or not below {_LARGEST:g}")
    num_vertices, num_faces = int(numbers[0]), int(numbers[1])
    first_face = 3 + 3 * num_vertices
    if min(num_vertices, num_faces) < 0 or len(numbers) < first_face + num_faces:
        raise ReadError(path, f"promises {num_vertices} vertices and {num_faces} faces, but the file is cut short")
    corners = _fans(numbers, _places_of_faces(path, content[3:], numbers, first_face, num_faces))
    if corners.size and not 0 <= corners.min() <= corners.max() < num_vertices:
        raise ReadError(path, f"a face names a vertex outside 0 .. {num_vertices - 1}")
    return numbers[3:first_face].reshape(-1, 3), corners.astype(np.int64)


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


def _places_of_faces(
    path: Path, text: bytes, numbers: NDArray[np.float64], first: int, num_faces: int
) -> NDArray[np.int64]:
    """Where in ``numbers``, those of the text, each face begins with how many corners it has."""
    if len(numbers) == first + 4 * num_faces and (numbers[first::4] == 3).all():  # triangles only: nearly all files
        return np.arange(first, len(numbers), 4)
    lengths = np.array([len(line.split()) for line in text.splitlines()])
    begins = np.append(0, lengths[lengths > 0].cumsum())  # of each line, and the end of the last one
    begins = begins[np.searchsorted(begins, first) :][: num_faces + 1]
    # Before numbers alone are counted: a color after the corners would be the next face.
    if begins[0] == first and len(begins) == num_faces + 1 and (numbers[begins[:-1]] < np.diff(begins)).all():
        return begins[:-1]
    places, place = [], first
    for _ in range(num_faces):
        places.append(place)
        place += 1 + max(0, int(numbers[place])) if place < len(numbers) else 1
    if place > len(numbers):
        raise ReadError(path, f"promises {num_faces} faces, but the file is cut short")
    if place < len(numbers):
        raise ReadError(
            path, f"has {len(numbers) - place} numbers after its {num_faces} faces, which have no line each"
        )
    return np.array(places, np.int64)


def _fans(numbers: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Triangles [F, 3] around the first corner of each face."""
    counts = np.maximum(numbers[places].astype(np.int64) - 2, 0)
    second = np.arange(counts.sum()) + np.repeat(places + 2 - (counts.cumsum() - counts), counts)
    return numbers[np.stack([np.repeat(places + 1, counts), second, second + 1], axis=1)]
