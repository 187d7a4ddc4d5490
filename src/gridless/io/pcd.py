"""PCD of the Point Cloud Library: ascii, binary and binary_compressed."""

from __future__ import annotations

import math
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks
from gridless.io.lzf import LONGEST_COPY, compress, decompress

LARGEST_HEADER = 1 << 16
LARGEST_COUNT = 1 << 16
ENCODINGS = ("ascii", "binary", "binary_compressed")
DTYPES = {
    **{("F", size): f"<f{size}" for size in (4, 8)},
    **{("I", size): f"<i{size}" for size in (1, 2, 4, 8)},
    **{("U", size): f"<u{size}" for size in (1, 2, 4, 8)},
}
PADDING = "_"  # the library's name for bytes that mean nothing


@dataclass(frozen=True)
class Header:
    """What a PCD file says about its points."""

    names: list[str]
    dtype: np.dtype[Any]
    num_points: int
    encoding: str
    data_at: int


def open_chunks(path: Path, chunk_size: int) -> PointChunks:
    """Open a PCD file; binary data stay on disk until rows are asked for.

    Fields of COUNT k > 1 are [N, k] columns, padding is dropped, and a packed ``rgb`` is left as it is stored.
    """
    header = _read_header(path)
    axes = [name for name in ("x", "y", "z") if name in header.names]
    if axes not in (["x", "y"], ["x", "y", "z"]):
        raise ReadError(path, f"needs fields x, y (and z), it has {', '.join(header.names)}")
    if any(header.dtype[_key(header.names.index(axis))].shape for axis in axes):
        raise ReadError(path, "the fields x, y, z must have COUNT 1")
    read_data = {"ascii": _read_ascii, "binary": _map_binary, "binary_compressed": _read_compressed}[header.encoding]
    fields = read_data(path, header)

    def rows(start: int, stop: int) -> PointCloud:
        values = {
            name: np.array(fields[_key(index)][start:stop])
            for index, name in enumerate(header.names)
            if name != PADDING
        }
        positions = np.stack([values.pop(axis).astype(np.float64) for axis in axes], axis=1)
        return PointCloud(positions, values)

    return PointChunks(header.num_points, chunk_size, rows)


def write(path: Path, cloud: PointCloud, data: str = "binary") -> None:
    """Write positions as 8-byte floats and every column under its name; [N, k] columns have COUNT k.

    Args:
        path: the file.
        cloud: positions [N, 2] or [N, 3].
        data: "ascii", "binary" or "binary_compressed" (slow: compressed in Python).

    Raises:
        ValueError: unknown ``data``, wrong number of coordinates, or a column that PCD cannot hold.
    """
    if data not in ENCODINGS:
        raise ValueError(f"write: data must be one of {', '.join(ENCODINGS)}, got {data!r}")
    if cloud.dim not in (2, 3):
        raise ValueError(f"write: PCD positions are [N, 2] or [N, 3], got shape {cloud.positions.shape}")
    fields = {axis: cloud.positions[:, index] for index, axis in enumerate("xyz"[: cloud.dim])}
    for name, values in cloud.columns.items():
        if name in (*"xyz", PADDING) or not re.fullmatch(r"[!-~]+", name):
            raise ValueError(f"write: {name!r} cannot be a PCD field: it is taken or has spaces; rename the column")
        fields[name] = _storable(name, values)
    types = [values.dtype for values in fields.values()]
    header = "\n".join(
        [
            "# .PCD v0.7 - Point Cloud Data file format",
            "VERSION 0.7",
            "FIELDS " + " ".join(fields),
            "SIZE " + " ".join(str(dtype.itemsize) for dtype in types),
            "TYPE " + " ".join(dtype.kind.upper() for dtype in types),
            "COUNT " + " ".join(str(math.prod(values.shape[1:])) for values in fields.values()),
            f"WIDTH {len(cloud)}",
            "HEIGHT 1",
            "VIEWPOINT 0 0 0 1 0 0 0",
            f"POINTS {len(cloud)}",
            f"DATA {data}\n",
        ]
    )
    with replaced_when_complete(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode("ascii"))
        if data == "ascii":
            flat = [
                column
                for values in fields.values()
                for column in values.reshape(len(cloud), math.prod(values.shape[1:])).T.tolist()
            ]
            # repr of a float is the shortest text that reads back as the same number
            file.writelines((" ".join(map(repr, row)) + "\n").encode("ascii") for row in zip(*flat, strict=True))
        elif data == "binary":
            packed = np.empty(len(cloud), [(f"f{i}", v.dtype, v.shape[1:]) for i, v in enumerate(fields.values())])
            for index, values in enumerate(fields.values()):
                packed[_key(index)] = values
            file.write(packed.tobytes())
        else:
            raw = b"".join(values.tobytes() for values in fields.values())
            compressed = compress(raw)
            file.write(struct.pack("<II", len(compressed), len(raw)) + compressed)


def _storable(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    elif values.dtype == np.float16:
        values = values.astype(np.float32)
    key = (values.dtype.kind.upper(), values.dtype.itemsize)
    if values.dtype.kind not in "iuf" or key not in DTYPES or values.ndim > 2 or 0 in values.shape[1:]:
        raise ValueError(
            f"write: PCD cannot hold column {name!r} of dtype {values.dtype} and shape {values.shape}; "
            "convert it or drop it"
        )
    return values.astype(DTYPES[key])


def _key(index: int) -> str:
    """Name of a field inside our arrays; those in files may repeat (padding) or be odd."""
    return f"f{index}"


def _read_header(path: Path) -> Header:
    with path.open("rb") as file:
        start = file.read(LARGEST_HEADER)
    end = re.search(rb"^DATA[^\n]*\n", start, re.MULTILINE)
    if end is None:
        raise ReadError(path, "not a PCD file: it has no line DATA" if start else "the file is empty")
    entries: dict[str, list[str]] = {}
    for number, line in enumerate(start[: end.end()].decode("latin-1").splitlines(), 1):
        words = line.split("#")[0].split()
        if words:
            if words[0] in entries:
                raise ReadError(path, f"the header has {words[0]} twice", f"line {number}")
            entries[words[0]] = words[1:]
    try:
        names = entries["FIELDS"]
        sizes = [int(word) for word in entries["SIZE"]]
        counts = [int(word) for word in entries.get("COUNT", ["1"] * len(names))]
        declared = [
            (_key(index), DTYPES[kind, size], () if count == 1 else (count,))
            for index, (kind, size, count) in enumerate(zip(entries["TYPE"], sizes, counts, strict=True))
        ]
        (width,), (height,) = (map(int, entries.get(key, ["1"])) for key in ("WIDTH", "HEIGHT"))
        (num_points,) = map(int, entries.get("POINTS", [str(width * height)]))
        (encoding,) = entries["DATA"]
    except (KeyError, ValueError) as error:
        raise ReadError(path, f"the header is not one of PCD: {error!r}") from error
    repeated = {name for name in names if name != PADDING and names.count(name) > 1}
    if len(names) != len(declared) or not names or repeated or not all(0 < n <= LARGEST_COUNT for n in counts):
        raise ReadError(path, f"FIELDS {names}, SIZE {sizes}, COUNT {counts} do not fit together")
    if encoding not in ENCODINGS:
        raise ReadError(path, f"unknown DATA {encoding!r}; known are {', '.join(ENCODINGS)}")
    if num_points < 0 or ("WIDTH" in entries and width * height != num_points):
        raise ReadError(path, f"WIDTH {width} times HEIGHT {height} is not POINTS {num_points}")
    return Header(names, np.dtype(declared), num_points, encoding, end.end())


def _require_bytes(path: Path, header: Header, promised: int) -> None:
    present = path.stat().st_size - header.data_at
    if promised > present:
        raise ReadError(
            path,
            f"the header promises {header.num_points} points, at least {promised} bytes, but {present} bytes follow",
            f"byte {header.data_at}",
        )


def _map_binary(path: Path, header: Header) -> NDArray[Any]:
    _require_bytes(path, header, header.num_points * header.dtype.itemsize)
    if header.num_points == 0:
        return np.empty(0, header.dtype)
    return np.memmap(path, header.dtype, "r", header.data_at, (header.num_points,))


def _read_ascii(path: Path, header: Header) -> NDArray[Any]:
    values_per_point = sum(math.prod(header.dtype[key].shape) for key in header.dtype.names or ())
    _require_bytes(path, header, max(0, header.num_points * values_per_point * 2 - 1))
    if header.num_points == 0:
        return np.empty(0, header.dtype)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no rows at all: the count below says so
        warnings.simplefilter("error", DeprecationWarning)  # numpy < 2.3 only warns that it cuts 2.75 to the integer 2
        file.seek(header.data_at)
        try:
            fields = np.loadtxt(file, header.dtype, ndmin=1, max_rows=header.num_points, encoding="latin-1")
        except (ValueError, OverflowError, DeprecationWarning) as error:
            raise ReadError(path, f"a row cannot be read: {error}") from error
    if len(fields) != header.num_points:
        raise ReadError(path, f"the header promises {header.num_points} points, the file has {len(fields)}")
    return fields


def _read_compressed(path: Path, header: Header) -> NDArray[Any]:
    """Decompress; in these files all values of one field come before the next field."""
    _require_bytes(path, header, 8)
    with path.open("rb") as file:
        file.seek(header.data_at)
        compressed_size, size = struct.unpack("<II", file.read(8))
        compressed = file.read(compressed_size)
    promised = header.num_points * header.dtype.itemsize
    if len(compressed) != compressed_size or size != promised or size > len(compressed) * LONGEST_COPY:
        raise ReadError(
            path,
            f"{header.num_points} points take {promised} bytes; the data promise {size} from {compressed_size} "
            f"compressed bytes, of which {len(compressed)} are there",
            f"byte {header.data_at}",
        )
    try:
        raw = decompress(compressed, size)
    except ValueError as error:
        raise ReadError(path, str(error), f"byte {header.data_at + 8} or after") from error
    fields = np.empty(header.num_points, header.dtype)
    at = 0
    for key in header.dtype.names or ():
        part = header.dtype[key]
        values = np.frombuffer(raw, part.base, header.num_points * math.prod(part.shape), at)
        fields[key] = values.reshape(header.num_points, *part.shape)
        at += values.nbytes
    return fields
