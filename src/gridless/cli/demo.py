"""gridless demo: the main job from end to end on simulated airborne LiDAR."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import gridless
from gridless import io
from gridless.data import InputSettings, LabelMap, settings_from_plain
from gridless.data.simulation import simulate_airborne_lidar
from gridless.metrics import SegmentationScores
from gridless.models import load_model
from gridless.prediction import predict
from gridless.training import TrainedRun, fit, load_recipe, read_curves
from gridless.viewer import confusion_matrix_figure, scores_table, write_report

_RECIPE = Path(__file__).with_name("demo.yaml")
_TRAINING_SCENES = (11, 12, 13, 14)
_HELD_OUT_SCENE = 99


def demo(output: Path = Path("demo_output"), steps: int | None = None, scene_size: float = 80.0) -> int:
    """Simulate airborne LiDAR, train on four scenes, label a fifth one and report how well that went.

    Args:
        output: folder for the scenes, the run, the labelled cloud and ``report.html``; made if it is not there.
        steps: optimizer steps, fewer than the recipe's for a quick look.
        scene_size: side of each scene in metres.

    Returns:
        The exit status, 0.
    """
    console = Console()
    started = time.perf_counter()
    scenes = output / "scenes"
    scenes.mkdir(parents=True, exist_ok=True)
    console.print("[bold]1/4[/] simulating five flights over five scenes")
    training_files = [_write_scene(scenes / f"train_{seed}.laz", seed, scene_size) for seed in _TRAINING_SCENES]
    held_out_file = _write_scene(scenes / f"held_out_{_HELD_OUT_SCENE}.laz", _HELD_OUT_SCENE, scene_size)

    console.print("[bold]2/4[/] training")
    run = _train(output / f"run_{time.strftime('%Y%m%d_%H%M%S')}", training_files, steps)

    console.print("[bold]3/4[/] labelling the held-out scene")
    model = load_model(run.folder / "model.safetensors")
    truth_cloud = io.read(held_out_file)
    labels = settings_from_plain(LabelMap, model.metadata["labels"])
    predicted = predict(model, truth_cloud.without_columns(labels.column))
    labelled_file = output / "labelled.laz"
    io.write(labelled_file, predicted)

    console.print("[bold]4/4[/] report")
    truth, prediction = labels.encode(truth_cloud[labels.column]), labels.encode(predicted[labels.column])
    scores = SegmentationScores.from_labels(truth, prediction, labels.names)
    console.print(scores_table(scores))
    confusion_matrix_figure(scores, output / "confusion.png")
    report_file = output / "report.html"
    inputs = settings_from_plain(InputSettings, model.metadata["inputs"])
    write_report(
        report_file,
        title="A held-out airborne LiDAR scene, labelled point by point",
        scores=scores,
        curves={name: curve for name, curve in read_curves(run.folder).items() if name != "learning_rate"},
        cloud=predicted,
        truth=truth,
        prediction=prediction,
        class_names=labels.names,
        facts={
            "data": "simulated airborne LiDAR (ray casting), four scenes to train, a fifth one shown here",
            "network": f"{model.name}, {sum(p.numel() for p in model.parameters()):,} parameters, "
            f"voxels of {inputs.voxel_size:g} m",
            "training": f"{run.steps} steps in {run.minutes:.1f} minutes on {torch.get_num_threads()} cores",
            "command": "gridless demo",
            "versions": f"gridless {gridless.__version__}, torch {torch.__version__}, "
            f"Python {platform.python_version()}",
        },
    )
    console.print(f"labelled cloud: [bold]{labelled_file}[/]")
    console.print(f"report:         [bold]{report_file}[/]  (open it in a browser and turn the cloud)")
    console.print(f"mIoU {scores.mean_iou:.4f}, all done in {(time.perf_counter() - started) / 60:.1f} minutes")
    return 0


def _write_scene(path: Path, seed: int, size: float) -> Path:
    io.write(path, simulate_airborne_lidar(seed, size=(size, size)))
    return path


def _train(folder: Path, files: list[Path], steps: int | None) -> TrainedRun:
    overrides: dict[str, Any] = {"data.train": [str(file.resolve()) for file in files], "output": str(folder)}
    if steps is not None:
        overrides |= {"schedule.steps": steps, "schedule.steps_per_epoch": max(1, steps // 2)}
    return fit(load_recipe(_RECIPE, overrides))
