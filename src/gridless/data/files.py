"""From the data entries of a recipe to prepared clouds."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gridless.cloud import PointCloud
from gridless.data.crops import covering_centers
from gridless.data.inputs import InputSettings, PreparedCloud
from gridless.data.labels import IGNORED, LabelMap
from gridless.io import SUFFIXES, read

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


def find_files(entries: Iterable[str], base: Path) -> list[Path]:
    """Files that entries name: files, folders (every readable file directly inside), or patterns with * and ?.

    Args:
        entries: may contain ``${VARIABLE}`` or ``${VARIABLE:-default}``.
        base: folder that relative entries start from.

    Raises:
        ValueError: a variable is not set.
        FileNotFoundError: an entry matches nothing.
    """
    found: list[Path] = []
    for entry in entries:
        path = str(base / _expanded(entry))
        if Path(path).is_dir():
            matches = [file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES]
        elif Path(path).exists():
            matches = [Path(path)]
        else:
            matches = [Path(match) for match in glob.glob(path)]
        if not matches:
            raise FileNotFoundError(f"no file matches {entry!r} (looked for {path})")
        found += sorted(matches)
    return found


def _expanded(entry: str) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name not in os.environ and default is None:
            raise ValueError(f"{entry!r}: environment variable {name} is not set; export {name}=...")
        return os.environ.get(name) or default or ""

    return _VARIABLE.sub(value, entry)


def load_labelled(path: Path, inputs: InputSettings, labels: LabelMap, density: float | None = None) -> PreparedCloud:
    """Read a file, encode its labels and compute its features.

    Args:
        path: file.
        inputs: features.
        labels: classes.
        density: see :func:`thinned`; None keeps every point.

    Raises:
        ReadError: the file is damaged.
        ValueError: no label column, labels without a mapping, NaN coordinates, missing columns; names the file.
    """
    cloud: PointCloud = read(path)
    cloud.require_finite(str(path))
    if density is not None:
        cloud = thinned(cloud, density)
    return inputs.prepare(cloud, str(path), labels.of_cloud(cloud, str(path)))


def thinned(cloud: PointCloud, density: float) -> PointCloud:
    """A random part of the points, so many per square unit of the ground that the cloud covers; always the same part.

    The ground covered is counted in squares that hold about ten points each where points lie evenly.

    Example:
        >>> square = PointCloud(np.random.default_rng(0).random((10_000, 3)) * [100, 100, 10])
        >>> 900 < len(thinned(square, 0.1)) < 1100, len(thinned(square, 2.0))
        (True, 10000)
    """
    horizontal = cloud.positions[:, :-1]
    if len(cloud) == 0:
        return cloud
    extent = np.prod(np.maximum(np.ptp(horizontal, axis=0), 1e-9))
    side = (10 * extent / len(cloud)) ** (1 / horizontal.shape[1])
    covered = len(covering_centers(horizontal, side)) * side ** horizontal.shape[1]
    keep = np.random.default_rng(0).random(len(cloud)) < density * covered / len(cloud)
    return cloud[keep]


def hold_out_strips(
    clouds: Sequence[PreparedCloud], fraction: float
) -> tuple[list[PreparedCloud], list[PreparedCloud]]:
    """Hold aside a strip along one side of every cloud for validation.

    The side changes from name to name (+x, -x, +y, -y, ...); clouds of one name, a file at several densities, lose the
    strip that the first of them loses. Training clouds lose the strip's points altogether; validation clouds keep the
    points around the strip as surroundings, without labels.

    Args:
        clouds: prepared clouds with labels.
        fraction: of the labelled points of each cloud, in (0, 1).

    Returns:
        training clouds, validation clouds

    Example:
        >>> line = np.column_stack([np.arange(10.0), np.zeros(10), np.zeros(10)])
        >>> cloud = PreparedCloud(line, np.zeros((10, 1), np.float32), np.zeros(10, np.int64), ("constant",), "line")
        >>> (training,), (validation,) = hold_out_strips([cloud], 0.2)
        >>> len(training), validation.labels.tolist()
        (8, [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"hold_out_strips: fraction must be between 0 and 1, got {fraction}")
    training, validation = [], []
    strips: dict[str, tuple[int, float | None]] = {}
    for cloud in clouds:
        assert cloud.labels is not None
        index, limit = strips.get(cloud.name, (len(strips), None))
        horizontal = cloud.horizontal
        along = horizontal[:, (index // 2) % horizontal.shape[1]] * (1 if index % 2 == 0 else -1)
        if limit is None:
            labelled = cloud.labels != IGNORED
            limit = float(np.quantile(along[labelled] if labelled.any() else along, 1 - fraction))
            strips[cloud.name] = index, limit
        held = along > limit
        training.append(cloud.restricted(~held))
        validation.append(cloud.with_labels(np.where(held, cloud.labels, IGNORED)))
    return training, validation
