"""NumPy archives: one array of positions and any others of the same length."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks

POSITION_NAMES = ("positions", "points", "pos", "xyz")
LARGEST_DEFLATE_RATIO = 1032


def open_chunks(path: Path, chunk_size: int) -> PointChunks:
    """Open an archive (read whole, then cut): the first of ``POSITION_NAMES`` in it, and the arrays of its length.

    The names of arrays of other lengths are listed in the metadata as ``other_arrays``.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start not in (b"PK\3\4", b"PK\5\6"):
        raise ReadError(path, f"not an NPZ archive: starts with {start!r}, expected b'PK\\x03\\x04'", "byte 0")
    with opened(path) as (archive, shapes):
        name_of_positions = next((name for name in POSITION_NAMES if name in shapes), None)
        if name_of_positions is None:
            raise ReadError(path, f"has no array {', '.join(POSITION_NAMES)}; it has {', '.join(shapes) or 'none'}")
        shape = shapes[name_of_positions]
        if len(shape) != 2 or shape[1] < 1:
            raise ReadError(path, f"array {name_of_positions!r} must be [N, D], got shape {shape}")
        positions = archive[name_of_positions]
        if positions.dtype.kind not in "iuf":
            raise ReadError(path, f"array {name_of_positions!r} must hold numbers, got {positions.dtype}")
        columns: dict[str, NDArray[Any]] = {
            name: archive[name]
            for name, other in shapes.items()
            if name != name_of_positions and other[:1] == shape[:1]
        }
    others = [name for name in shapes if name != name_of_positions and name not in columns]
    cloud = PointCloud(positions, columns, {"other_arrays": others} if others else {})
    return PointChunks(len(cloud), chunk_size, lambda start, stop: cloud[start:stop], dict(cloud.metadata))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Any, dict[str, tuple[int, ...]]]]:
    """An archive, and the shapes of its arrays, which it is large enough to hold.

    Raises:
        ReadError: damaged, or an array promises more than there is; within the block, too.
    """
    try:
        # Opened here, because np.load leaves a file that it opened itself open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            yield archive, {name: _shape(path, archive.zip, name) for name in archive.files}
    except (ReadError, FileNotFoundError):
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged archives
        raise ReadError(path, f"the archive cannot be read: {error}") from error


def write(path: Path, cloud: PointCloud, compressed: bool = True) -> None:
    """Write ``positions`` and every column under its name.

    Raises:
        ValueError: a column has a name of the positions, a name that no archive can hold, or Python objects.
    """
    for name, values in cloud.columns.items():
        if name in POSITION_NAMES or not name or "/" in name or "\\" in name or "\0" in name or name.endswith(".npy"):
            raise ValueError(f"write: an NPZ file cannot hold a column named {name!r}; rename it")
        if values.dtype.hasobject:
            raise ValueError(f"write: column {name!r} holds Python objects; convert it to numbers or fixed-length text")
    with (
        replaced_when_complete(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive,
    ):
        # Not np.savez: its keyword arguments clash with columns called "file" and the like.
        for name, values in {"positions": cloud.positions, **cloud.columns}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def _shape(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """Shape from the array's own header, refused if the archive does not hold that many bytes."""
    member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
    info = archive.getinfo(member)
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    promised = math.prod(shape) * dtype.itemsize
    present = min(info.file_size, info.compress_size * LARGEST_DEFLATE_RATIO)
    if min(shape, default=0) < 0 or promised > present:
        raise ReadError(path, f"array {name!r} promises {promised} bytes of shape {shape}, the archive holds {present}")
    return tuple(shape)
