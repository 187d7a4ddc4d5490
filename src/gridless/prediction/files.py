"""Labels for files: whole clouds where they fit into memory, tile by tile where they do not."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gridless.cloud import PointCloud
from gridless.errors import ReadError
from gridless.io import can_stream_to, check_target, read, write
from gridless.io import open as open_file
from gridless.models import Network
from gridless.prediction.clock import Clock
from gridless.prediction.large import Box, Scoring, StageProgress, bounds_of, predict_in_tiles, side_by_side
from gridless.prediction.memory import points_in
from gridless.prediction.predict import input_settings, label_map, predict, require_point_labels, with_predictions


def neighbors_of(model: Network, files: Sequence[Path]) -> list[list[Path]]:
    """For each file (LAS, LAZ or PLY) those of the others that lie beside it, close enough to be seen from it."""
    inputs = input_settings(model)

    def box(file: Path) -> Box | None:
        try:
            return bounds_of(file) if len(files) > 1 and can_stream_to(file) else None
        except ReadError:
            return None  # told when its turn comes

    boxes = [box(file) for file in files]
    found = side_by_side(boxes, 2 * inputs.crop_radius)
    return [[files[index] for index in indices] for indices in found]


def predict_file(
    model: Network,
    source: Path,
    target: Path,
    *,
    memory: int,
    neighbors: Sequence[Path] = (),
    probabilities: bool = False,
    confidence: bool = False,
    votes: int = 1,
    workers: int = 0,
    scoring: Scoring | None = None,
    resume: bool = False,
    progress: StageProgress = lambda stage, done, total: None,
    clock: Clock | None = None,
) -> None:
    """Label every point of a file and write it with its labels.

    Args:
        model: from ``load_model``, saved by a training.
        source: file to read.
        target: file to write; LAS, LAZ and PLY can be larger than memory.
        memory: bytes to stay within, about.
        neighbors: files beside this one, seen from crops at its borders (for LAS, LAZ and PLY targets).
        probabilities: also write the probability of every class.
        confidence: also write the probability of the chosen class.
        votes: average over as many turns of each crop.
        workers: processes that prepare crops.
        scoring: who scores tiles instead of this process, such as a ``Cluster``.
        resume: go on with what an interrupted prediction of a large file left.
        progress: called with (stage, points done, all points).
        clock: adds up seconds by stage.

    Raises:
        ReadError: the source is damaged.
        FileNotFoundError: the folder of the target does not exist.
        IsADirectoryError: the target is a folder.
        ValueError: too little memory, what the model needs is not in the file, it labels whole objects, or the target's
            format cannot hold the names or numbers of the classes.
    """
    require_point_labels(model)
    clock = Clock() if clock is None else clock
    limit = points_in(memory, len(label_map(model).names))
    with open_file(source, chunk_size=1) as chunks:
        num_points = len(chunks)
        first_point = next(iter(chunks), None)
    streams = can_stream_to(target)
    if num_points > limit and not streams:
        raise ValueError(
            f"{source}: {num_points} points do not fit into the memory allowed, and {target.suffix} is not written in "
            "parts; allow more memory, or write .las, .laz or .ply"
        )
    if scoring is not None and not streams:
        raise ValueError(f"{target}: a cluster writes .las, .laz or .ply")
    if first_point is not None:
        _check_writable(model, first_point, target, probabilities, confidence)
    if num_points > limit or (neighbors and streams) or (scoring is not None and num_points > 0):
        predict_in_tiles(
            model,
            source,
            target,
            points_in_memory=limit,
            neighbors=neighbors,
            probabilities=probabilities,
            confidence=confidence,
            votes=votes,
            workers=workers,
            scoring=scoring,
            resume=resume,
            progress=progress,
            clock=clock,
        )
        return
    with clock("reading"):
        cloud = read(source)

    def show(done: int, total: int) -> None:
        progress("labeling", num_points * done // total, num_points)

    with clock("labeling"):
        labelled = predict(
            model,
            cloud,
            probabilities=probabilities,
            confidence=confidence,
            votes=votes,
            workers=workers,
            progress=show,
            context=str(source),
        )
    with clock("writing"):
        write(target, labelled)


def _check_writable(model: Network, point: PointCloud, target: Path, probabilities: bool, confidence: bool) -> None:
    """Write a point once with each class beside the target: what cannot be written is noticed before the work."""
    check_target(target)
    if not np.isfinite(point.positions).all():
        return  # refused with its file and row when the cloud is prepared
    labels = label_map(model)
    num_classes = len(labels.names)
    scores = np.eye(num_classes, dtype=np.float32)
    trial = with_predictions(point[np.zeros(num_classes, int)], labels, scores, probabilities, confidence)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        beside = Path(folder, target.name)
        write(beside, trial)
        kept = read(beside).columns
    lost = [name for name in trial.columns if name not in point and name not in kept]
    if lost:
        raise ValueError(f"{target}: {target.suffix} has no place for {', '.join(lost)}; write .las, .laz or .ply")
