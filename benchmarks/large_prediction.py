"""Time and peak memory of ``gridless predict`` on a file of any size, made on the way.

    python -m benchmarks.large_prediction FOLDER MILLIONS [--memory 4GB] [--size small]

The file has 50 points a square meter in the order of flight lines; the network has random weights. By default it merges
points to voxels of 4 m, so that the path around it shows; a size of ``pccn_unet`` takes voxels of 0.5 m, as one would.
Run again after an interruption: it goes on where it was.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import gridless as gl
from gridless.data import FeatureSettings, InputSettings, LabelMap, plain_from_settings
from gridless.io import create
from gridless.models import SIZES

_PER_SQUARE_METER = 50
_CHUNK = 500_000
_LINE = 100.0  # width of a flight line in meters


def make_file(path: Path, num_points: int) -> None:
    """Hills with boxes on them, chunk by chunk."""
    side = (num_points / _PER_SQUARE_METER) ** 0.5
    with create(path, num_points) as append:
        for start in range(0, num_points, _CHUNK):
            rng = np.random.default_rng(start)
            n = min(_CHUNK, num_points - start)
            along = np.linspace(start, start + n, n, endpoint=False) * side / num_points * (side / _LINE)
            x = np.clip((along // side) * _LINE + rng.uniform(0, _LINE, n), 0, side)
            y = along % side
            on_box = (np.floor(x / 20) + np.floor(y / 20)) % 7 == 0
            z = 10 * np.sin(x / 90) + 8 * np.cos(y / 70) + 6.0 * on_box + rng.normal(0, 0.05, n)
            columns: dict[str, NDArray[Any]] = {
                "intensity": rng.integers(0, 4000, n).astype(np.uint16),
                "classification": np.zeros(n, np.uint8),
            }
            append(gl.PointCloud(np.column_stack([x + 652_000, y + 6_862_000, z + 120]), columns))


def make_model(path: Path, size: str | None) -> None:
    """A network nobody trained."""
    torch.manual_seed(0)
    if size is None:
        voxel_size, model = 4.0, gl.build_model("pccn", in_channels=2, num_classes=3, num_neighbors=8)
    else:
        voxel_size, model = 0.5, gl.build_model("pccn_unet", size=size, in_channels=2, num_classes=3, spacing=0.5)
    features = (FeatureSettings("height_above_ground", scale=10.0), FeatureSettings("intensity", transform="robust"))
    model.metadata = {
        "inputs": plain_from_settings(InputSettings(features, voxel_size=voxel_size, crop_radius=20.0)),
        "labels": plain_from_settings(LabelMap({"ground": [2], "tree": [5], "house": [6]})),
    }
    gl.save_model(path, model)


def main() -> int:
    """Make what is not there yet, predict, and print what it took."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large_prediction", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("millions", type=float, help="of points")
    parser.add_argument("--memory", default="4GB", help="as for gridless predict")
    parser.add_argument("--size", choices=sorted(SIZES), help="of a pccn_unet; by default a small pccn")
    options = parser.parse_args()
    folder, millions = options.folder, options.millions
    source, target = folder / f"{millions:g}M.las", folder / f"{millions:g}M-out.las"
    model = folder / f"{options.size or 'pccn'}.safetensors"
    if not source.exists():
        make_file(source, round(millions * 1e6))
    if not model.exists():
        make_model(model, options.size)
    words = ["predict", str(source), "-o", str(target), "-m", str(model), "--memory", options.memory, "--resume"]
    start = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "gridless.cli.main", *words], check=False).returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{millions:g} million points: {time.perf_counter() - start:.0f} s, peak {peak / 1e9:.2f} GB, exit {code}")
    return code


if __name__ == "__main__":
    sys.exit(main())
