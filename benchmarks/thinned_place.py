"""How networks label a place at other densities: dense IGN tiles as one cloud, thinned at random.

    python -m benchmarks.thinned_place airborne_sparse
    python -m benchmarks.thinned_place RUN/model.safetensors --tiles "77060_*" --density 2 --without intensity

A network for sparse clouds that never saw the place shows here what carries over to other landscapes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import gridless as gl
from benchmarks.report import line, rule
from gridless.cli.model_argument import load_model_or_run
from gridless.data import find_files
from gridless.metrics import SegmentationScores
from gridless.models import PRETRAINED
from gridless.prediction import label_map

_FOLDER = "${GRIDLESS_DATA:-../shared/data}/ign_lidarhd_dense"
_SQUARE_METRES = 2_500  # of a tile
_COLUMNS = ("classification", "intensity", "return_number", "number_of_returns")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.thinned_place", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("models", nargs="+", help=f"model files, folders of runs, or names: {', '.join(PRETRAINED)}")
    parser.add_argument("--tiles", default="7705[05]_*", help="pattern of names; by default the training tiles")
    parser.add_argument("--density", type=float, default=0.3, help="points per square metre that are kept")
    parser.add_argument("--draws", type=int, default=6, help="how often points are drawn anew")
    parser.add_argument("--without", nargs="+", default=[], help=f"columns that are hidden: {', '.join(_COLUMNS[1:])}")
    options = parser.parse_args()
    files = find_files([f"{_FOLDER}/{options.tiles}.la[sz]"], Path(__file__).parents[1])
    columns = [name for name in _COLUMNS if name not in options.without]
    tiles = [gl.read(path) for path in files]
    place = gl.PointCloud.concatenate(
        [gl.PointCloud(tile.positions, {name: tile[name] for name in columns}) for tile in tiles]
    )
    kept = min(len(place), int(options.density * _SQUARE_METRES * len(files)))
    draws = [
        place[np.sort(np.random.default_rng(draw).choice(len(place), kept, replace=False))]
        for draw in range(options.draws)
    ]
    print("\n".join([line("model", "mIoU", "IoU of the classes", "OA"), rule(4)]))
    for name in options.models:
        model = load_model_or_run(Path(name))
        labels = label_map(model)
        truth = np.concatenate([draw["classification"] for draw in draws])
        prediction = np.concatenate([gl.predict(model, draw)["classification"] for draw in draws])
        scores = SegmentationScores.from_labels(labels.encode(truth), labels.encode(prediction), labels.names)
        classes = ", ".join(f"{label} {iou:.3f}" for label, iou in zip(labels.names, scores.iou, strict=True))
        print(line(name, f"{scores.mean_iou:.3f}", classes, f"{scores.overall_accuracy:.3f}"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
