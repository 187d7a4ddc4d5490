"""A training loop in plain torch, without recipe and without Lightning: label simulated airborne LiDAR.

    python examples/training_loop.py --steps 200

One scene is learned from, another one scored; the model file that it writes works with `gridless predict`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

import gridless as gl
from gridless.data import (
    IGNORED,
    AugmentationSettings,
    Batch,
    FeatureSettings,
    InputSettings,
    LabelMap,
    SamplerSettings,
    TrainingCrops,
    plain_from_settings,
)
from gridless.data.simulation import simulate_airborne_lidar
from gridless.metrics import SegmentationScores
from gridless.models import Network

LABELS = LabelMap({"ground": [2], "vegetation": [3, 5], "building": [6], "other": [14, 15, 64]})
INPUTS = InputSettings(
    features=(FeatureSettings("height_above_ground", scale=5.0), FeatureSettings("return_ratio")),
    voxel_size=0.5,
    crop_radius=8.0,
)


def main(steps: int, size: float, output: Path) -> float:
    """Train, save and score; returns the mean IoU on the scene that was not trained on."""
    torch.manual_seed(0)
    model = gl.build_model("pccn_unet", in_channels=2, num_classes=len(LABELS.names), spacing=INPUTS.voxel_size)
    model.metadata = {"inputs": plain_from_settings(INPUTS), "labels": plain_from_settings(LABELS)}
    train(model, simulate_airborne_lidar(seed=1, size=(size, size)), steps)
    gl.save_model(output, model)

    unseen = simulate_airborne_lidar(seed=2, size=(size, size))
    truth = LABELS.encode(unseen["classification"])
    predicted = LABELS.encode(gl.predict(model.eval(), unseen)["classification"])
    scores = SegmentationScores.from_labels(truth, predicted, LABELS.names)
    for name, iou in zip(LABELS.names, scores.iou, strict=True):
        print(f"{name:<12} IoU {iou:.3f}")
    return scores.mean_iou


def train(model: Network, cloud: gl.PointCloud, steps: int, crops_per_step: int = 4) -> None:
    """Random crops of one labelled cloud, cross-entropy, AdamW with one cycle."""
    prepared = INPUTS.prepare(cloud, "training scene", LABELS.encode(cloud["classification"]))
    crops = TrainingCrops(
        [prepared],
        LABELS.names,
        INPUTS,
        model.pyramid_settings,
        SamplerSettings(),
        AugmentationSettings(),
        seed=0,
        length=steps * crops_per_step,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, steps))
    model.train()
    for step, batch in enumerate(DataLoader(crops, crops_per_step, collate_fn=Batch.concatenate, num_workers=1)):
        loss = F.cross_entropy(model(batch.features, batch.pyramid), batch.labels, ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=float, default=60.0, help="side of the scenes in metres")
    parser.add_argument("--output", type=Path, default=Path("model.safetensors"))
    options = parser.parse_args()
    print(f"mean IoU {main(options.steps, options.size, options.output):.3f}")
