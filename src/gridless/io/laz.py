"""What a LAZ file promises about its chunks, checked before the decoder allocates for it (and aborts, if too much)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import laspy
import lazrs

from gridless.errors import ReadError

_LAYERED = 3
# Layers of the items of the layered compressor; extra bytes have one for each byte.
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}  # POINT14, RGB14, RGBNIR14, WAVEPACKET14
_EXTRA_BYTES = 14
_MANY_POINTS = 1_000_000  # a chunk may have room for more points than the file has; usual are 50,000


def check_chunks(path: Path, file: BinaryIO, header: laspy.LasHeader) -> None:
    """Refuse more or larger chunks than the file has bytes or points; leaves ``file`` where it was.

    Raises:
        ReadError: with the promised and the real numbers.

    Source: the LAZ specification 1.4 of rapidlasso, on the chunk table and the layered chunks.
    """
    position, size = file.tell(), path.stat().st_size
    points_at, point_bytes = header.offset_to_point_data, header.point_format.size
    record = header.vlrs.get("LasZipVlr")[0].record_data
    if size >= points_at + 16 and header.point_count:
        _check_number_of_chunks(path, file, points_at, point_bytes, size)
        file.seek(points_at)
        chunks = lazrs.read_chunk_table(file, lazrs.LazVlr(record))
        promised = sum(num_points for num_points, _ in chunks)
        if promised < header.point_count:
            # The decoder would take for a chunk whatever follows.
            raise ReadError(path, f"promises {header.point_count} points, but chunks of {promised} in all")
        num_layers = _num_layers(record)
        at = points_at + 8
        for num_points, num_bytes in chunks:
            if num_points > max(header.point_count, _MANY_POINTS):
                raise ReadError(path, f"promises chunks of {num_points} points, but {header.point_count} points in all")
            if at + num_bytes > size:
                raise ReadError(path, f"the table promises a chunk of {num_bytes} bytes at byte {at} of {size}")
            if num_layers:
                # A chunk begins with one whole point and a count, then the layers' lengths.
                layers = _unpacked(file, f"<{num_layers}I", at + point_bytes + 4)
                if sum(layers) > num_bytes:
                    raise ReadError(
                        path, f"a chunk of {num_bytes} bytes promises layers of {sum(layers)} bytes", f"byte {at}"
                    )
            at += num_bytes
    file.seek(position)


def _check_number_of_chunks(path: Path, file: BinaryIO, points_at: int, point_bytes: int, size: int) -> None:
    (table_at,) = _unpacked(file, "<q", points_at)
    if table_at == -1:  # written as a stream: its place is told at the end
        (table_at,) = _unpacked(file, "<q", size - 8)
    if not points_at < table_at <= size - 8:
        raise ReadError(path, f"promises a table of chunks at byte {table_at} of {size}", f"byte {points_at}")
    (num_chunks,) = _unpacked(file, "<I", table_at + 4)
    if num_chunks * point_bytes > table_at - points_at:  # every chunk begins with a point that is not compressed
        raise ReadError(
            path,
            f"the table promises {num_chunks} chunks of points of {point_bytes} bytes, but only "
            f"{table_at - points_at} bytes hold them",
            f"byte {table_at}",
        )


def _num_layers(record: bytes) -> int:
    """Layers of each chunk; 0 where the compressor is not the layered one."""
    compressor, num_items = struct.unpack_from("<H", record)[0], struct.unpack_from("<H", record, 32)[0]
    if compressor != _LAYERED:
        return 0
    items = struct.iter_unpack("<HHH", record[34 : 34 + 6 * num_items])
    return sum(size if kind == _EXTRA_BYTES else _LAYERS.get(kind, 0) for kind, size, _ in items)


def _unpacked(file: BinaryIO, form: str, position: int) -> tuple[int, ...]:
    file.seek(position)
    return struct.unpack(form, file.read(struct.calcsize(form)))
