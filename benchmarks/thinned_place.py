"""How networks label a place at other densities: the dense IGN training tiles as one cloud, thinned at random.

A network for sparse clouds that never saw the place shows here what carries over to other landscapes.
"""

from __future__ import annotations

import argparse
import sys
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

import gridless as gl
from benchmarks.report import line, rule
from gridless.data import find_files
from gridless.metrics import SegmentationScores
from gridless.models import load_model, pretrained_file
from gridless.models.pretrained import PRETRAINED
from gridless.prediction import label_map

_TILES = "${GRIDLESS_DATA:-../shared/data}/ign_lidarhd_dense/7705[05]_*.laz"
_SQUARE_METRES = 10_000  # of the four tiles
_COLUMNS = ("intensity", "return_number", "number_of_returns", "classification")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thinned_place", description=__doc__)
    parser.add_argument("models", nargs="+", help=f"model files or names: {', '.join(PRETRAINED)}")
    parser.add_argument("--density", type=float, default=0.3, help="points per square metre that are kept")
    parser.add_argument("--draws", type=int, default=6, help="how often points are drawn anew")
    options = parser.parse_args()
    tiles = [gl.read(path) for path in find_files([_TILES], Path(__file__).parents[1])]
    place = gl.PointCloud.concatenate(
        [gl.PointCloud(tile.positions, {name: tile[name] for name in _COLUMNS}) for tile in tiles]
    )
    kept = min(len(place), int(options.density * _SQUARE_METRES))
    draws = [
        place[np.sort(np.random.default_rng(draw).choice(len(place), kept, replace=False))]
        for draw in range(options.draws)
    ]
    print("\n".join([line("model", "mIoU", "IoU of the classes", "OA"), rule(4)]))
    for name in options.models:
        model = load_model(pretrained_file(name) if name in PRETRAINED else name)
        labels = label_map(model)
        scores = reduce(
            add,
            (
                SegmentationScores.from_labels(
                    labels.encode(draw["classification"]),
                    labels.encode(gl.predict(model, draw)["classification"]),
                    labels.names,
                )
                for draw in draws
            ),
        )
        classes = ", ".join(f"{label} {iou:.3f}" for label, iou in zip(labels.names, scores.iou, strict=True))
        print(line(name, f"{scores.mean_iou:.3f}", classes, f"{scores.overall_accuracy:.3f}"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
