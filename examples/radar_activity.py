"""What a person does, from the points of a radar: windows of two seconds as clouds in space and time, four dimensions.

    GRIDLESS_DATA=folder python -m examples.radar_activity --picture radar_activity.png

A point has a place, a time (in metres, by a speed of 1 m/s), a velocity towards the radar and an intensity. Nothing is
binned into frames or voxels. `recipes/radhar.yaml` is the longer training, from overlapping windows. Data: RadHAR.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.irregular_series import SeriesSet, predict, train
from gridless import build_model
from gridless.data.published import RadHAR

#: Part of a window's 1,260 points or so that the network is shown, others in each step.
KNOWN = 0.2
#: column: (offset, scale) that bring it to about −1 … 1.
FEATURES = {"velocity": (0.0, 1.0), "intensity": (29.0, 4.0), "elevation": (0.0, 1.0), "distance": (1.5, 1.5)}


def windows(folder: Path, part: str) -> tuple[SeriesSet, NDArray[np.int64], tuple[str, ...]]:
    """Windows of a part that do not overlap, the recording of each, and the names of the activities."""
    data = RadHAR(folder / "radhar", training_step=2.0)
    files = data.files(part)
    clouds = [data.read(file) for file in files]
    positions = [cloud.positions.astype(np.float32) for cloud in clouds]
    features = [
        np.column_stack([(cloud[name] - offset) / scale for name, (offset, scale) in FEATURES.items()])
        for cloud in clouds
    ]
    labels = np.array([cloud["label"][0] for cloud in clouds], dtype=np.int64)
    recordings = np.unique([data.group(file) for file in files], return_inverse=True)[1]
    return (
        SeriesSet(positions, [own.astype(np.float32) for own in features], labels, KNOWN),
        recordings,
        data.class_names,
    )


def draw(path: Path, samples: SeriesSet, predicted: NDArray[np.int64], names: tuple[str, ...]) -> None:
    """A window of each activity, height over time, and how often each activity was taken for which."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(names), 6), layout="constrained")
    halves: Any = figure.subfigures(2, 1)
    panels = halves[0].subplots(1, len(names), sharey=True, squeeze=False)[0]
    for activity, (axes, name) in enumerate(zip(panels, names, strict=True)):
        for window in np.flatnonzero(samples.labels == activity)[:1]:
            places, velocity = samples.positions[window], samples.features[window][:, 0]
            axes.scatter(places[:, 3], places[:, 2], c=velocity, s=4, cmap="coolwarm", vmin=-1, vmax=1)
            axes.set(title=f"{name}, taken for {names[predicted[window]]}", xlabel="seconds", ylabel="height, m")
    table = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(table, (samples.labels, predicted), 1)
    axes = halves[1].subplots()
    axes.imshow(table, cmap="Blues")
    for (row, column), count in np.ndenumerate(table):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if count > table.max() / 2 else "black"
        )
    ticks = range(len(names))
    axes.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names)
    figure.savefig(path)


def main(
    data: Path,
    epochs: int = 6,
    seed: int = 0,
    channels: tuple[int, ...] = (32, 64, 128),
    validate: bool = False,
    picture: Path | None = None,
) -> float:
    """Train and score; returns the accuracy on the windows held out."""
    torch.manual_seed(seed)
    training, recordings, names = windows(data, "train")
    if validate:
        aside = np.random.default_rng(0).permutation(recordings.max() + 1)[: (recordings.max() + 1) // 5]
        unseen = np.isin(recordings, aside)
        training, held_out = training.take(np.flatnonzero(~unseen)), training.take(np.flatnonzero(unseen))
    else:
        held_out, _, _ = windows(data, "test")
    network: Any = build_model(
        "classifier",
        in_channels=len(FEATURES),
        num_classes=len(names),
        dim=4,
        spacing=0.15,
        channels=channels,
        blocks=(1,) * len(channels),
        dropout=0.4,
    )
    start = time.perf_counter()
    train(network, training, epochs, seed)
    shown = held_out.incomplete(seed)
    predicted = predict(network, shown)
    accuracy = float((predicted == held_out.labels).mean())
    print(
        f"accuracy {accuracy:.4f}, {len(training)} windows to learn from, {len(held_out)} held out, "
        f"{time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, held_out, predicted, names)
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("GRIDLESS_DATA", "../shared/data"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="score a fifth of the training recordings instead")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
