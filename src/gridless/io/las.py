"""LAS and LAZ through laspy: every dimension is a column, and the header travels in the metadata.

A file that was read and is written again keeps its point format, scales, offsets, VLRs and EVLRs (so its reference
system), and the integer coordinates are the same.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import laspy
import numpy as np
from laspy.vlrs.vlrlist import VLRList
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks, as_stored, check_columns, check_count
from gridless.io.laz import check_chunks

HEADER = "las_header"
"""Key of the laspy header in a cloud's metadata."""
INTEGER_COORDINATES = ("X", "Y", "Z")
POINTS_PER_BLOCK = 250_000  # a header that promises too much costs one block, not the promised memory
LONGEST_DIMENSION_NAME = 32


def open_chunks(path: Path, chunk_size: int = POINTS_PER_BLOCK) -> PointChunks:
    """Open LAS or LAZ; clouds carry the header as metadata ``las_header`` and the reference system as ``crs``."""
    with contextlib.ExitStack() as on_failure:
        file = on_failure.enter_context(path.open("rb"))
        _check_promises(path, file)
        with _damage_reported(path, "the header cannot be read"):
            reader = laspy.LasReader(file, laz_backend=_laz_backend())
        header = reader.header
        if not (np.isfinite([header.scales, header.offsets]).all() and np.all(header.scales != 0)):
            raise ReadError(
                path, f"scales {header.scales.tolist()} or offsets {header.offsets.tolist()} are not usable"
            )
        record_bytes = header.point_count * header.point_format.size
        point_bytes = path.stat().st_size - header.offset_to_point_data
        if not header.are_points_compressed and record_bytes > point_bytes:
            raise ReadError(
                path,
                f"header promises {header.point_count} points of {header.point_format.size} bytes, but only "
                f"{max(point_bytes, 0)} bytes follow it: the file is cut short or its header is wrong",
                f"byte {header.offset_to_point_data}",
            )
        if header.are_points_compressed:
            with _damage_reported(path, "the table of its chunks cannot be read"):
                check_chunks(path, file, header)
        metadata = {HEADER: header}
        crs = _reference_system(header)
        if crs is not None:
            metadata["crs"] = crs

        def rows(start: int, stop: int) -> PointCloud:
            starts = range(start, stop, POINTS_PER_BLOCK) or (start,)
            return PointCloud.concatenate(
                _read_block(path, reader, first, min(first + POINTS_PER_BLOCK, stop), metadata) for first in starts
            )

        chunks = PointChunks(header.point_count, chunk_size, rows, metadata, file.close)
        on_failure.pop_all()
        return chunks


def write(
    path: Path,
    cloud: PointCloud,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
) -> None:
    """Write LAS or, by the suffix, LAZ.

    Columns with a name of the point format go there; others become extra dimensions of their own dtype. Without a
    header in the metadata a new one is made: LAS 1.4, point format 6 (7 with red, green or blue, 8 with nir too).

    Args:
        path: the file, ending in .las or .laz.
        cloud: positions [N, 3].
        scale: step of the integer coordinates; default: of the header carried along, else 0.001.
        offset: zero of the integer coordinates; default: of the header carried along, else the floor of the minimum.

    Raises:
        ValueError: positions are not [N, 3], not finite, or out of reach of scale and offset; a value does not fit
            its dimension (for example a class above 31 in point formats 0 to 5); a header carried along that laspy
            does not write.
    """
    with create(path, len(cloud), scale, offset) as append:
        append(cloud)


@contextlib.contextmanager
def create(
    path: Path,
    num_points: int,
    scale: float | Sequence[float] | None = None,
    offset: float | Sequence[float] | None = None,
) -> Iterator[Callable[[PointCloud], None]]:
    """Yield a function that appends a cloud; the first one decides the header, which all others must fit.

    Arguments as in :func:`write`.
    """
    with _refusals_reported(path), replaced_when_complete(path) as temporary, temporary.open("wb") as file:
        writer: laspy.LasWriter | None = None
        written = 0
        names: list[str] = []

        def append(cloud: PointCloud) -> None:
            nonlocal writer, written, names
            if cloud.dim != 3:
                raise ValueError(
                    f"write {path.name}: LAS has 3 coordinates, got positions of shape {cloud.positions.shape}"
                )
            cloud.require_finite(f"write {path.name}: LAS stores coordinates as integers")
            columns = _without_long_vectors({name: _storable(path, name, v) for name, v in cloud.columns.items()})
            if writer is None:
                header = _header_for(cloud, columns, scale, offset)
                compress = path.suffix.lower() == ".laz"
                writer = laspy.LasWriter(file, header, do_compress=compress, laz_backend=_laz_backend(), closefd=False)
                names = list(columns)
            check_columns(path, columns, names)
            writer.write_points(_record(path, cloud, columns, writer.header))
            written += len(cloud)

        yield append
        check_count(path, written, num_points)
        if writer is None:  # no points, and no cloud that would have said which columns
            append(PointCloud(np.empty((0, 3))))
        assert writer is not None
        if written == 0:
            writer.header.mins = writer.header.maxs = np.zeros(3)
        if writer.header.evlrs:
            writer.write_evlrs(writer.header.evlrs)
        writer.close()


# Reading


def _check_promises(path: Path, file: BinaryIO) -> None:
    """Refuse record counts that the file cannot hold, before anything is read or allocated because of them."""
    size = path.stat().st_size
    start = file.read(375)
    file.seek(0)
    if start[:4] != b"LASF":
        raise ReadError(path, f"not a LAS or LAZ file: starts with {start[:4]!r}, expected b'LASF'", "byte 0")
    if len(start) < 227:
        raise ReadError(path, f"the header is cut short: {len(start)} bytes, expected at least 227")
    points_at, num_vlrs = struct.unpack_from("<II", start, 96)
    if points_at > size or num_vlrs * 54 > points_at:
        raise ReadError(
            path, f"header promises {num_vlrs} VLRs and points at byte {points_at}, but the file has {size} bytes"
        )
    if start[25] >= 4 and len(start) >= 247:
        evlrs_at, num_evlrs = struct.unpack_from("<QI", start, 235)
        if num_evlrs and evlrs_at + num_evlrs * 60 > size:
            raise ReadError(
                path, f"header promises {num_evlrs} EVLRs at byte {evlrs_at}, but the file has {size} bytes"
            )


def _read_block(path: Path, reader: laspy.LasReader, start: int, stop: int, metadata: dict[str, Any]) -> PointCloud:
    header = reader.header
    with _damage_reported(path, f"header promises {header.point_count} points, but they cannot be read", start):
        if start == stop:
            record = laspy.ScaleAwarePointRecord.zeros(0, header=header)
        else:
            if reader.points_read != start:
                reader.seek(start)
            record = reader.read_points(stop - start)
        if len(record) != stop - start:
            raise ValueError(f"only {len(record)} of {stop - start} points follow")
        integers = np.stack([np.asarray(record[name]) for name in INTEGER_COORDINATES], axis=1)
        columns = {
            name: np.array(record[name])
            for name in header.point_format.dimension_names
            if name not in INTEGER_COORDINATES
        }
    return PointCloud(integers * header.scales + header.offsets, columns, metadata)


@contextlib.contextmanager
def _damage_reported(path: Path, problem: str, point: int | None = None) -> Iterator[None]:
    """Turn whatever the decoders raise on damaged files into ReadError; the Rust decoder's panic is no Exception."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, ReadError):
        raise
    except BaseException as error:
        where = None if point is None else f"point {point} or after"
        raise ReadError(path, f"{problem}: {error or type(error).__name__}", where) from error


def _laz_backend() -> laspy.LazBackend:
    """With one thread in a child: the pool of the other does not survive a fork, and would be waited for forever."""
    is_child = multiprocessing.parent_process() is not None
    return laspy.LazBackend.Lazrs if is_child else laspy.LazBackend.LazrsParallel


def _reference_system(header: laspy.LasHeader) -> str | None:
    """The coordinate reference system as WKT or "EPSG:code", or None."""
    records = [*header.vlrs, *(header.evlrs or [])]
    for record in records:
        # Some writers leave the record empty, or a pair of quotes in it.
        if isinstance(record, laspy.vlrs.known.WktCoordinateSystemVlr) and "[" in record.string:
            return str(record.string).strip("\0 ")
    codes = {
        key.id: key.value_offset
        for record in records
        if isinstance(record, laspy.vlrs.known.GeoKeyDirectoryVlr)
        for key in record.geo_keys
    }
    code = codes.get(3072) or codes.get(2048)  # ProjectedCSTypeGeoKey, GeographicTypeGeoKey
    return None if code in (None, 32767) else f"EPSG:{code}"  # 32767: user defined


# Writing


@contextlib.contextmanager
def _refusals_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except laspy.LaspyException as error:
        raise ValueError(f"write {path}: laspy refuses it, {type(error).__name__}: {error}") from error


def _header_for(
    cloud: PointCloud,
    columns: dict[str, NDArray[Any]],
    scale: float | Sequence[float] | None,
    offset: float | Sequence[float] | None,
) -> laspy.LasHeader:
    """The header of a file that starts with this cloud."""
    carried = cloud.metadata.get(HEADER)
    header = _new_header(cloud) if carried is None else copy.deepcopy(carried)
    if str(header.version) == "1.0":  # laspy only reads it; 1.2 has the same layout and point formats
        header.version = laspy.header.Version(1, 2)
    _drop_cloud_optimized_index(header)
    if scale is not None:
        header.scales = np.broadcast_to(np.asarray(scale, dtype=np.float64), 3).copy()
    if offset is not None:
        header.offsets = np.broadcast_to(np.asarray(offset, dtype=np.float64), 3).copy()
    _declare_dimensions(header, columns)
    return header


def _record(
    path: Path, cloud: PointCloud, columns: dict[str, NDArray[Any]], header: laspy.LasHeader
) -> laspy.ScaleAwarePointRecord:
    integers = _integer_coordinates(path, cloud, header)
    record = laspy.ScaleAwarePointRecord.zeros(len(cloud), header=header)
    for axis, name in enumerate(INTEGER_COORDINATES):
        record[name] = integers[:, axis]
    for info in header.point_format.dimensions:
        if info.name in columns:
            _store(path, record, info, columns[info.name], header.point_format.id)
    return record


def _new_header(cloud: PointCloud) -> laspy.LasHeader:
    colored = any(name in cloud for name in ("red", "green", "blue"))
    header = laspy.LasHeader(version="1.4", point_format=(8 if "nir" in cloud else 7) if colored else 6)
    header.scales = np.full(3, 0.001)
    header.offsets = np.floor(cloud.positions.min(axis=0)) if len(cloud) else np.zeros(3)
    return header


def _drop_cloud_optimized_index(header: laspy.LasHeader) -> None:
    """A COPC index describes the order of the points it came with; in any other file it would be wrong."""
    header.vlrs = VLRList([record for record in header.vlrs if record.user_id != "copc"])
    if header.evlrs is not None:
        header.evlrs = VLRList([record for record in header.evlrs if record.user_id != "copc"])


def _integer_coordinates(path: Path, cloud: PointCloud, header: laspy.LasHeader) -> NDArray[np.int32]:
    integers = np.rint((cloud.positions - header.offsets) / header.scales)
    limits = np.iinfo(np.int32)
    outside = ~((integers >= limits.min) & (integers <= limits.max)).all(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"write {path.name}: row {row}, {cloud.positions[row].tolist()}, does not fit 32-bit integer coordinates "
            f"with scale {header.scales.tolist()} and offset {header.offsets.tolist()}; "
            "pass scale= and offset= that suit the data"
        )
    return integers.astype(np.int32)


def _storable(path: Path, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values in a dtype that LAS has."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    elif values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > 8 or values.ndim > 2:
        raise ValueError(
            f"write {path.name}: column {name!r} must be [N] or [N, k] integers or floats of at most 64 bits for LAS, "
            f"got {values.dtype} of shape {values.shape}; convert it or drop it with cloud.without_columns({name!r})"
        )
    return values


def _declare_dimensions(header: laspy.LasHeader, columns: dict[str, NDArray[Any]]) -> None:
    """Make the extra dimensions of the header those of the columns that the point format does not have itself."""
    standard = set(header.point_format.standard_dimension_names)
    for clash in ("x", "y", "z", *INTEGER_COORDINATES):
        if clash in columns:
            raise ValueError(
                f"write: a column named {clash!r} cannot be stored in LAS beside the coordinates; rename it"
            )
    kept = set()
    for info in list(header.point_format.extra_dimensions):
        if info.name in columns and _holds(info, columns[info.name]):
            kept.add(info.name)
        else:
            header.remove_extra_dim(info.name)
    for name, values in columns.items():
        if name in standard or name in kept:
            continue
        if len(name.encode()) > LONGEST_DIMENSION_NAME or not name:
            raise ValueError(f"write: {name!r} is no name for LAS: 1 to {LONGEST_DIMENSION_NAME} bytes are allowed")
        num_elements = str(values.shape[1]) if values.ndim == 2 else ""
        header.add_extra_dim(laspy.ExtraBytesParams(name, f"{num_elements}{values.dtype.str[1:]}"))


def _without_long_vectors(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """LAS has vectors of two and three only: others become name_0, name_1, ..."""
    parts: dict[str, NDArray[Any]] = {}
    for name, values in columns.items():
        if values.ndim == 1 or values.shape[1] in (2, 3):
            parts[name] = values
            continue
        split = {f"{name}_{index}": values[:, index] for index in range(values.shape[1])}
        taken = [part for part in split if part in columns]
        if taken:
            raise ValueError(f"write: column {name!r} is stored as {name}_0, ..., but {taken[0]!r} exists already")
        parts.update(split)
    return parts


def _holds(info: Any, values: NDArray[Any]) -> bool:
    """Whether this declared extra dimension takes the values without a change."""
    if info.is_scaled:
        with np.errstate(all="ignore"):
            raw = np.rint((values - info.offsets) / info.scales)
            return bool(np.array_equal(raw * info.scales + info.offsets, values) and _within(raw, info).all())
    return bool(values.shape[1:] == _shape(info) and values.dtype == info.dtype.base)


def _shape(info: Any) -> tuple[int, ...]:
    """Of one point's values."""
    return () if info.num_elements == 1 else (info.num_elements,)


def _within(values: NDArray[Any], info: Any) -> NDArray[np.bool_]:
    if info.dtype is not None and info.dtype.base.kind == "f":
        return np.ones(values.shape, dtype=np.bool_)
    limits = None if info.dtype is None else np.iinfo(info.dtype.base)
    smallest, largest = (limits.min, limits.max) if limits is not None else (0, 2**info.num_bits - 1)
    return np.asarray((values >= smallest) & (values <= largest) & (np.floor(values) == values))


def _store(path: Path, record: laspy.ScaleAwarePointRecord, info: Any, values: NDArray[Any], point_format: int) -> None:
    if not info.is_standard and values.shape[1:] != _shape(info):
        raise ValueError(
            f"create: {path}: column {info.name!r} has rows of shape {_shape(info)} since the first cloud, "
            f"got {values.shape[1:]}"
        )
    if info.is_scaled:
        if not _holds(info, values):
            raise ValueError(
                f"create: {path}: column {info.name!r} is {info.dtype.base} steps of {info.scales} from {info.offsets} "
                f"since the first cloud, which do not hold the values {values.min()} to {values.max()}"
            )
        record.array[info.name] = np.rint((values - info.offsets) / info.scales)
        return
    if not info.is_standard:
        record[info.name] = as_stored(path, info.name, values, info.dtype.base)
        return
    fits = _within(values, info)
    if values.ndim != 1 or not fits.all():
        got = f"shape {values.shape}" if values.ndim != 1 else f"{values[~fits][0]}"
        bits = f"{info.num_bits}-bit {'signed' if info.kind.name.startswith('Signed') else 'unsigned'} integers"
        raise ValueError(
            f"write {path.name}: column {info.name!r} is stored as {bits} [N] in LAS point format {point_format}, "
            f"got {got}; change the values, or store them under another column name"
        )
    record[info.name] = values
