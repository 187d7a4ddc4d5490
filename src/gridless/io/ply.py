"""PLY through plyfile: ASCII and binary of both byte orders."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks, as_stored, check_columns, check_count

LARGEST_HEADER = 1 << 20
BYTES_OF_TYPE = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}
PLY_NAMES = {
    **{"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort"},
    **{"i4": "int", "u4": "uint", "f4": "float", "f8": "double"},
}
WIDER_TYPE = {"bool": "u1", "float16": "f4", "int64": "i4", "uint64": "u4"}
"""Column dtypes that PLY lacks and the type they are stored as if every value fits."""


def open_chunks(path: Path, chunk_size: int) -> PointChunks:
    """Open the ``vertex`` element; binary files without list properties stay on disk until rows are asked for."""
    _check_promises(path)
    try:
        data = plyfile.PlyData.read(str(path))
        vertex = data["vertex"]
        fields: NDArray[Any] = vertex.data
    except KeyError as error:
        raise ReadError(path, "has no element 'vertex'") from error
    except Exception as error:  # plyfile lets numpy's and struct's errors through on damaged files
        raise ReadError(path, f"cannot be read as PLY: {error}") from error
    scalars = [item.name for item in vertex.properties if not isinstance(item, plyfile.PlyListProperty)]
    axes = [name for name in ("x", "y", "z") if name in scalars]
    if axes not in (["x", "y"], ["x", "y", "z"]):
        raise ReadError(
            path, f"the element 'vertex' needs properties x, y (and z), it has {', '.join(scalars) or 'none'}"
        )

    offset = fields.offset if isinstance(fields, np.memmap) else None
    record, num_points = fields.dtype, len(fields)

    def rows(start: int, stop: int) -> PointCloud:
        if offset is None:
            part = fields[start:stop]
        else:  # not through the map, whose pages would stay in memory
            part = np.fromfile(path, record, stop - start, offset=offset + start * record.itemsize)
        columns = {name: part[name].astype(part.dtype[name].newbyteorder("=")) for name in scalars if name not in axes}
        return PointCloud(np.stack([part[axis].astype(np.float64) for axis in axes], axis=1), columns)

    return PointChunks(num_points, chunk_size, rows)


def write(path: Path, cloud: PointCloud, ascii: bool = False, byte_order: str = "<") -> None:
    """Write positions as double and every column; [N, k] columns become name_0 ... name_{k-1}.

    Args:
        path: the file.
        cloud: positions [N, 2] or [N, 3].
        ascii: text instead of binary; numbers are written so that they read back exactly.
        byte_order: "<" little endian or ">" big endian, for binary.

    Raises:
        ValueError: wrong number of coordinates, a column name with spaces, or values that no PLY type holds.
    """
    if byte_order not in ("<", ">"):
        raise ValueError(f"write: byte_order must be '<' or '>', got {byte_order!r}")
    if not ascii:
        with create(path, len(cloud), byte_order) as append:
            append(cloud)
        return
    element = plyfile.PlyElement.describe(_vertices(path, cloud), "vertex")
    with replaced_when_complete(path) as temporary:
        plyfile.PlyData([element], text=True).write(str(temporary))


@contextlib.contextmanager
def create(path: Path, num_points: int, byte_order: str = "<") -> Iterator[Callable[[PointCloud], None]]:
    """Yield a function that appends a cloud to a binary file; the first one decides the properties of all."""
    with replaced_when_complete(path) as temporary, temporary.open("wb") as file:
        record: np.dtype[Any] | None = None
        written = 0

        def append(cloud: PointCloud) -> None:
            nonlocal record, written
            vertices = _vertices(path, cloud)
            if record is None:
                record = vertices.dtype.newbyteorder("<" if byte_order == "<" else ">")
                file.write(_header(record, num_points, byte_order))
            file.write(_in_record(path, vertices, record).tobytes())
            written += len(cloud)

        yield append
        check_count(path, written, num_points)
        if record is None:  # no points, and no cloud that would have said which columns
            append(PointCloud(np.empty((0, 3))))


def _header(record: np.dtype[Any], num_points: int, byte_order: str) -> bytes:
    lines = ["ply", f"format binary_{'little' if byte_order == '<' else 'big'}_endian 1.0"]
    lines.append(f"element vertex {num_points}")
    lines += [f"property {PLY_NAMES[record[name].str[1:]]} {name}" for name in record.names or ()]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def _in_record(path: Path, vertices: NDArray[Any], record: np.dtype[Any]) -> NDArray[Any]:
    """The vertices with the properties of the file, matched by name."""
    check_columns(path, vertices.dtype.names or (), record.names or ())
    stored = np.empty(len(vertices), record)
    for name in record.names or ():
        stored[name] = as_stored(path, name, vertices[name], record[name])
    return stored


def _vertices(path: Path, cloud: PointCloud) -> NDArray[Any]:
    if cloud.dim not in (2, 3):
        raise ValueError(f"write {path.name}: PLY positions are [N, 2] or [N, 3], got shape {cloud.positions.shape}")
    properties: dict[str, NDArray[Any]] = {
        axis: cloud.positions[:, index] for index, axis in enumerate("xyz"[: cloud.dim])
    }
    for name, values in cloud.columns.items():
        flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
        names = [name] if values.ndim == 1 else [f"{name}_{index}" for index in range(flat.shape[1])]
        for index, part in enumerate(names):
            if part in properties or not re.fullmatch(r"[!-~]+", part):
                raise ValueError(
                    f"write {path.name}: {part!r} cannot be a PLY property: it is taken or has spaces; "
                    "rename the column"
                )
            properties[part] = _storable(path, name, flat[:, index])
    vertices = np.empty(len(cloud), dtype=[(name, values.dtype) for name, values in properties.items()])
    for name, values in properties.items():
        vertices[name] = values
    return vertices


def _storable(path: Path, name: str, values: NDArray[Any]) -> NDArray[Any]:
    target = WIDER_TYPE.get(values.dtype.name)
    if target is not None:
        stored = values.astype(target)
        if not np.array_equal(stored, values, equal_nan=values.dtype.kind == "f"):
            raise ValueError(
                f"write {path.name}: column {name!r} ({values.dtype}) has values beyond PLY's 32-bit integers"
            )
        return stored
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > 8:
        raise ValueError(
            f"write {path.name}: PLY cannot hold column {name!r} of dtype {values.dtype}; convert it or drop it"
        )
    return values


def _check_promises(path: Path) -> None:
    """Refuse a header whose element counts need more bytes than the file has."""
    with path.open("rb") as file:
        start = file.read(LARGEST_HEADER)
    if start[:3] != b"ply":
        raise ReadError(path, f"not a PLY file: starts with {start[:4]!r}, expected b'ply'", "byte 0")
    header = re.match(rb"(.*?[\r\n])end_header[ \t]*\r?\n?", start, re.DOTALL)
    if header is None:
        raise ReadError(path, "the header has no end_header line: the file is cut short or is no PLY file")
    lines = [line.split() for line in header.group(1).decode("latin-1").splitlines()]
    is_text = ["format", "ascii", "1.0"] in lines
    promised, count = 0, 0
    for words in lines:
        if words[:1] == ["element"]:
            count = int(words[2]) if len(words) == 3 and words[2].isdecimal() else 0
        elif words[:1] == ["property"] and len(words) >= 3:
            type_name = words[2] if words[1] == "list" else words[1]  # a list has at least its length
            promised += count * (2 if is_text else BYTES_OF_TYPE.get(type_name, 1))  # text: a digit and a space
    present = path.stat().st_size - header.end() + is_text  # the last line may lack its end
    if promised > present:
        raise ReadError(
            path,
            f"the header promises elements of at least {promised} bytes ("
            + ", ".join(f"{words[2]} {words[1]}" for words in lines if words[:1] == ["element"] and len(words) == 3)
            + f"), but {max(present, 0)} bytes follow: the file is cut short or its header is wrong",
            f"byte {header.end()}",
        )
