"""KITTI scans: .bin of float32 x y z intensity, with SemanticKITTI's .label of uint32 beside it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io.atomic import replaced_when_complete
from gridless.io.chunks import PointChunks

POINT_BYTES = 16
LABEL_BYTES = 4
LARGEST_LABEL = 0xFFFF
_LARGEST_SHIFT = 1e-3  # that float32 may give a coordinate


def label_path(path: Path) -> Path:
    """Where the labels of a scan are, or would be: the same stem beside it, or velodyne/NNN.bin -> labels/NNN.label."""
    beside = path.with_suffix(".label")
    in_sequence = path.parent.parent / "labels" / beside.name
    if beside.exists() or not in_sequence.parent.is_dir() or path.parent.name != "velodyne":
        return beside
    return in_sequence


def open_chunks(path: Path, chunk_size: int) -> PointChunks:
    """Open a scan; columns ``intensity`` float32 and, with a label file, ``label`` and ``instance`` uint16."""
    size = path.stat().st_size
    if size % POINT_BYTES:
        raise ReadError(
            path,
            f"{size} bytes are not a whole number of points of {POINT_BYTES} bytes (float32 x y z intensity)",
            f"byte {size - size % POINT_BYTES}",
        )
    num_points = size // POINT_BYTES
    labels = label_path(path)
    has_labels = labels.exists()
    if has_labels and labels.stat().st_size != num_points * LABEL_BYTES:
        num_labels = labels.stat().st_size / LABEL_BYTES
        raise ReadError(labels, f"holds {num_labels:g} labels, but {path.name} holds {num_points} points")

    def rows(start: int, stop: int) -> PointCloud:
        values = np.fromfile(path, "<f4", count=4 * (stop - start), offset=start * POINT_BYTES).reshape(-1, 4)
        columns = {"intensity": values[:, 3].copy()}
        if has_labels:
            packed = np.fromfile(labels, "<u4", count=stop - start, offset=start * LABEL_BYTES)
            columns["label"] = (packed & LARGEST_LABEL).astype(np.uint16)
            columns["instance"] = (packed >> 16).astype(np.uint16)
        return PointCloud(values[:, :3].astype(np.float64), columns)

    return PointChunks(num_points, chunk_size, rows)


def write(path: Path, cloud: PointCloud) -> None:
    """Write positions (as float32), ``intensity`` (zero if absent) and, if there is a ``label``, the label file.

    The label file takes ``instance`` too; the format has no place for other columns, which are left out.

    Raises:
        ValueError: positions are not [N, 3] or not within 1 mm of float32, labels do not fit 16 bits, or an old label
            file would stay beside a scan that it does not belong to.
    """
    if cloud.dim != 3:
        raise ValueError(f"write: a KITTI scan has 3 coordinates, got positions of shape {cloud.positions.shape}")
    labels = label_path(path)
    if "label" not in cloud and labels.exists():
        raise ValueError(
            f"write: {labels} exists, but the cloud has no column 'label'; it would be read as that of {path.name}: "
            "add the column or write under another name"
        )
    values = np.zeros((len(cloud), 4), "<f4")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has no shift
        values[:, :3] = cloud.positions
        shift = np.fmax.reduce(np.abs(values[:, :3] - cloud.positions), axis=None, initial=0.0)
    if shift > _LARGEST_SHIFT:
        raise ValueError(
            f"write: {path.name}: a KITTI scan holds float32, which would shift positions by up to {shift:.3g} m: "
            "subtract an origin from them, or write .las or .ply"
        )
    if "intensity" in cloud:
        values[:, 3] = cloud["intensity"]
    packed = None
    if "label" in cloud:
        packed = _sixteen_bits(cloud, "label")
        if "instance" in cloud:
            packed |= _sixteen_bits(cloud, "instance") << np.uint32(16)
    with contextlib.ExitStack() as complete:
        # unlike tofile, this says so when the disk is full
        complete.enter_context(replaced_when_complete(path)).write_bytes(values.data)
        if packed is not None:
            complete.enter_context(replaced_when_complete(labels)).write_bytes(packed.data)


def _sixteen_bits(cloud: PointCloud, name: str) -> NDArray[np.uint32]:
    values = cloud[name]
    wrong = (values < 0) | (values > LARGEST_LABEL) | (values != np.floor(values))
    if values.ndim != 1 or wrong.any():
        got = f"shape {values.shape}" if values.ndim != 1 else f"{values[wrong][0]}"
        raise ValueError(f"write: column {name!r} must hold integers 0 to {LARGEST_LABEL} [N], got {got}")
    return np.asarray(values.astype("<u4"))
