"""The table of file formats, and the functions that choose from it by suffix."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.chunks import PointChunks

SUFFIXES: dict[str, str] = {
    ".las": "las",
    ".laz": "las",
    ".ply": "ply",
    ".pcd": "pcd",
    ".bin": "kitti",
    ".npz": "npz",
    ".txt": "text",
    ".csv": "text",
    ".xyz": "text",
    ".pts": "text",
    ".asc": "text",
}
"""File suffix (lower case) -> module of this folder, which has ``open_chunks`` and ``write``."""


def open(path: str | os.PathLike[str], chunk_size: int = 1_000_000, **options: Any) -> PointChunks:
    """Open a file to read its points in chunks; LAS, LAZ, KITTI, binary PLY and binary PCD stay on disk meanwhile.

    Args:
        path: a file with one of `SUFFIXES`.
        chunk_size: largest number of points in one chunk.
        options: of the format's reader.

    Returns:
        An iterable of `PointCloud` and context manager; its length is the number of points.

    Raises:
        FileNotFoundError: there is no such file.
        ReadError: the file is damaged or not what its suffix says; while iterating too, for damage further on.
        ValueError: unknown suffix, or ``chunk_size`` below 1.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "line.npz"), PointCloud(np.arange(12.0).reshape(4, 3)))
        ...     with open(Path(folder, "line.npz"), chunk_size=3) as chunks:
        ...         chunks.num_points, [len(chunk) for chunk in chunks]
        (4, [3, 1])
    """
    source = Path(path)
    module = _module_for(source)
    if not source.exists():
        raise FileNotFoundError(f"no such file: {source}")
    if source.is_dir():
        raise ReadError(source, "is a folder, expected a file")
    chunks: PointChunks = module.open_chunks(source, chunk_size, **options)
    return chunks


def read(path: str | os.PathLike[str], **options: Any) -> PointCloud:
    """Read a whole file.

    Args:
        path: a file with one of `SUFFIXES`.
        options: of the format's reader.

    Returns:
        The points: positions [N, D] in float64 and one column per further value, named as in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ReadError: the file is damaged or not what its suffix says.
        ValueError: unknown suffix.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "two.csv"), PointCloud(np.eye(2, 3), {"label": np.array([4, 5])}))
        ...     read(Path(folder, "two.csv"))["label"].tolist()
        [4, 5]
    """
    with open(path, **options) as chunks:
        return chunks.read_all()


def write(path: str | os.PathLike[str], cloud: PointCloud, **options: Any) -> None:
    """Write a cloud in the format of the suffix; a failed write leaves nothing behind.

    Args:
        path: the file to make or replace, with one of `SUFFIXES`.
        cloud: the points.
        options: of the format's writer (``ascii=True`` for PLY, ``data="ascii"`` for PCD, ``scale=`` for LAS, ...).

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
        ValueError: unknown suffix, or the format cannot hold this cloud.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "zeros.ply"), PointCloud(np.zeros((5, 3))))
        ...     len(read(Path(folder, "zeros.ply")))
        5
    """
    target = Path(path)
    _module_for(target).write(target, cloud, **options)


def can_stream_to(path: str | os.PathLike[str]) -> bool:
    """Whether the format of this suffix is written in parts."""
    return hasattr(_module_for(Path(path)), "create")


def create(path: str | os.PathLike[str], num_points: int) -> AbstractContextManager[Callable[[PointCloud], None]]:
    """Write a file in parts; it takes its place when the block ends well, with all its points.

    Args:
        path: the file to make or replace: LAS, LAZ or PLY.
        num_points: N, all points that will be appended.

    Returns:
        A context manager that gives ``append(cloud)``; the first cloud decides columns, their types and the header.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist.
        ValueError: the format cannot be written in parts, a cloud does not fit it or the first cloud, or other
            than N points were given.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with create(Path(folder, "line.ply"), 4) as append:
        ...         append(PointCloud(np.zeros((1, 3))))
        ...         append(PointCloud(np.ones((3, 3))))
        ...     read(Path(folder, "line.ply")).positions[:, 0].tolist()
        [0.0, 1.0, 1.0, 1.0]
    """
    target = Path(path)
    if not can_stream_to(target):
        raise ValueError(f"{target}: {target.suffix} is not written in parts; choose .las, .laz or .ply")
    context: AbstractContextManager[Callable[[PointCloud], None]] = _module_for(target).create(target, num_points)
    return context


def _module_for(path: Path) -> Any:
    name = SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; known are {', '.join(SUFFIXES)}")
    # Imported when first used: laspy and plyfile are not needed to import this package.
    return importlib.import_module(f"gridless.io.{name}")
