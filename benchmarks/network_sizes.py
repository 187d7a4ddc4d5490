"""Parameters, time and peak memory per 100,000 points of every size of the networks.

`python -m benchmarks.network_sizes`: each works in a process of its own on the same simulated flight, merged to points
0.5 m apart.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

import gridless as gl
from benchmarks.machine import machine
from benchmarks.memory_probe import resident_from_now_on, resident_megabytes
from benchmarks.report import line, rule, with_section
from gridless.data.simulation import simulate_airborne_lidar
from gridless.models import SIZES
from gridless.pyramid import Pyramid
from gridless.subsample import voxel_grid

_DOCUMENT = Path(__file__).parents[1] / "BENCHMARKS.md"
_NETWORKS = ("pccn_unet", "classifier")
_SPACING, _CHANNELS, _CLASSES = 0.5, 12, 5
_POINTS = 50_000  # in four clouds, as the crops of a batch
_REPEATS = 5


@dataclass(frozen=True)
class Figures:
    """What one network takes; times per 100,000 points."""

    parameters: int
    search_seconds: float
    forward_seconds: float
    step_seconds: float
    forward_megabytes: float
    step_megabytes: float


def main() -> int:
    """Measure every network and write the table."""
    columns = ("network", "size", "parameters", "search", "forward", "forward + backward")
    lines = [line(*columns, "memory, forward", "and backward"), rule(8)]
    for name in _NETWORKS:
        for size in SIZES:
            command = [sys.executable, "-m", "benchmarks.network_sizes", name, size]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures = Figures(**json.loads(done.stdout.splitlines()[-1]))
            cells = [f"{figures.parameters / 1e6:.2f} M"]
            cells += [
                f"{value:.2f} s" for value in (figures.search_seconds, figures.forward_seconds, figures.step_seconds)
            ]
            cells += [f"{value:.0f} MB" for value in (figures.forward_megabytes, figures.step_megabytes)]
            lines.append(line(name, size, *cells))
            print(lines[-1], flush=True)
    text = "\n".join([f"{machine()}, {torch.get_num_threads()} threads. Per 100,000 points.", "", *lines])
    document = _DOCUMENT.read_text("utf-8")
    _DOCUMENT.write_text(with_section(document, "sizes", "python -m benchmarks.network_sizes", text), "utf-8")
    return 0


def measure(name: str, size: str) -> Figures:
    """One network in this process, memory above what lay there before."""
    torch.manual_seed(0)
    model = gl.build_model(name, size=size, in_channels=_CHANNELS, num_classes=_CLASSES, spacing=_SPACING)
    positions, batch = _points()
    features = torch.randn(len(positions), _CHANNELS)

    def search() -> Pyramid:
        return Pyramid.build(positions, model.pyramid_settings, batch)

    pyramid = search()
    labels = torch.randint(_CLASSES, (4 if model.task == "classification" else len(positions),))

    @torch.no_grad()
    def forward() -> None:
        model(features, pyramid)

    def step() -> None:
        functional.cross_entropy(model(features, pyramid), labels).backward()

    per = 1e5 / len(positions)
    memory = [_peak_megabytes(run) * per for run in (forward, step)]
    times = [_median_seconds(run) * per for run in (search, forward, step)]
    return Figures(sum(parameter.numel() for parameter in model.parameters()), *times, *memory)


def _points() -> tuple[Tensor, Tensor]:
    """Positions and clouds of four pieces of a flight, points about 0.5 m apart."""
    cloud = simulate_airborne_lidar(0, size=(200.0, 200.0))
    positions = torch.from_numpy(cloud.local_positions()).float()
    positions = positions[voxel_grid(positions, _SPACING)]
    side = positions[:, 0] > positions[:, 0].median()
    quarter = 2 * side.long() + (positions[:, 1] > positions[:, 1].median()).long()
    batch, order = quarter.sort(stable=True)
    positions = positions[order]
    kept = torch.cat([torch.nonzero(batch == part).flatten()[: _POINTS // 4] for part in range(4)])
    return positions[kept], batch[kept]


def _median_seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _peak_megabytes(run: Callable[[], object]) -> float:
    run()  # loads what every pass needs
    start = resident_from_now_on()
    run()
    return resident_megabytes("VmHWM") - start


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(*sys.argv[1:3]).__dict__))
    else:
        sys.exit(main())
