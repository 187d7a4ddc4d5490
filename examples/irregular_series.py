"""A class for series of which half of the samples are missing: what is left over is a set of points in time.

    python examples/irregular_series.py JapaneseVowels_TRAIN.ts JapaneseVowels_TEST.ts --picture vowels.png

Nothing is filled in. Data: nine speakers saying "ae", 7 to 29 samples of twelve coefficients (UCI's Japanese Vowels in
the format of timeseriesclassification.com; the package aeon brings the two files).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gridless import Pyramid, build_model

KEPT_SAMPLES = 0.5


@dataclass(frozen=True)
class SeriesSet:
    """Series of different lengths, each a set of points with a class."""

    positions: list[NDArray[np.float32]]
    """[n, 1] time from the middle of the series."""
    features: list[NDArray[np.float32]]
    """[n, C]"""
    labels: NDArray[np.int64]
    known: float = 1.0
    """The part of the points that a training sees of a sample, others each time."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> SeriesSet:
        positions, features = ([part[row] for row in rows] for part in (self.positions, self.features))
        return SeriesSet(positions, features, self.labels[rows], self.known)

    def incomplete(self, seed: int) -> SeriesSet:
        """Only the known part of each sample, drawn once."""
        rng = np.random.default_rng(seed)
        kept = [_some(len(own), self.known, rng) for own in self.positions]
        positions, features = (
            [own[rows] for own, rows in zip(part, kept, strict=True)] for part in (self.positions, self.features)
        )
        return SeriesSet(positions, features, self.labels)

    def batch(self, rows: NDArray[np.int64], changes: np.random.Generator | None = None) -> tuple[Tensor, ...]:
        """Positions, features and sample of all points of these samples.

        ``changes`` draws the points that are known, and stretches time a little.
        """
        positions, features = [], []
        for row in rows:
            own, values = self.positions[row], self.features[row]
            if changes is not None:
                kept = _some(len(own), self.known, changes)
                stretched = own[kept] * (1 + changes.normal(0, 0.05))
                own, values = stretched.astype(np.float32), values[kept]
            positions.append(own)
            features.append(values)
        samples = np.repeat(np.arange(len(rows)), [len(own) for own in positions])
        return tuple(torch.from_numpy(part) for part in (np.concatenate(positions), np.concatenate(features), samples))


def vowels(training_file: Path, test_file: Path) -> tuple[SeriesSet, SeriesSet]:
    """270 recordings to learn from and 370 held out, half of the samples of each dropped at random for good."""
    training, held_out = (_read_series(file).incomplete(seed) for seed, file in enumerate((training_file, test_file)))
    values = np.concatenate(training.features)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    for part in (training, held_out):
        part.features[:] = [((own - mean) / deviation).astype(np.float32) for own in part.features]
    return dataclasses.replace(training, known=0.85), held_out


def _read_series(file: Path) -> SeriesSet:
    positions, features, labels = [], [], []
    lines = file.read_text(encoding="utf-8").split("@data", 1)[1].split("\n")
    for line in filter(None, map(str.strip, lines)):
        *channels, label = line.split(":")
        series = np.array([channel.split(",") for channel in channels], dtype=np.float32).T
        positions.append((np.arange(len(series))[:, None] - len(series) / 2).astype(np.float32))
        features.append(series)
        labels.append(int(label) - 1)
    return SeriesSet(positions, features, np.array(labels), KEPT_SAMPLES)


def _some(number: int, part: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """A part of ``number`` rows at random, two at least."""
    return np.sort(rng.permutation(number)[: max(2, round(number * part))])


def train(network: Any, samples: SeriesSet, epochs: int, seed: int) -> None:
    """AdamW with one cycle on batches of 32 samples, each changed a little."""
    changes = np.random.default_rng(seed)
    batches = -(-len(samples) // 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, epochs * batches))
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for rows in np.array_split(changes.permutation(len(samples)), batches):
            loss = F.cross_entropy(
                logits(network, *samples.batch(rows, changes)),
                torch.from_numpy(samples.labels[rows]),
                label_smoothing=0.1,
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}  training loss {total / len(samples):.3f}", flush=True)


def logits(network: Any, positions: Tensor, features: Tensor, sample: Tensor) -> Tensor:
    """[samples, classes]"""
    scores: Tensor = network(features, Pyramid.build(positions, network.pyramid_settings, sample))
    return scores


@torch.no_grad()
def predict(network: Any, samples: SeriesSet) -> NDArray[np.int64]:
    """The class of each sample."""
    network.eval()
    parts = np.array_split(np.arange(len(samples)), -(-len(samples) // 128))
    return np.concatenate([logits(network, *samples.batch(rows)).argmax(dim=1).numpy() for rows in parts])


def draw(path: Path, samples: SeriesSet, predicted: NDArray[np.int64]) -> None:
    """Three coefficients of some series, with the speaker they were given and, where it differs, the true one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    rows = np.linspace(0, len(samples) - 1, 18).astype(int)
    shown = samples.take(rows)
    for axes, times, values, found, truth in zip(
        figure.subplots(3, 6).flat, shown.positions, shown.features, predicted[rows], shown.labels, strict=True
    ):
        axes.plot(times[:, 0], values[:, :3], "o-", markersize=2, linewidth=0.5)
        axes.set_title(
            f"{found}" if found == truth else f"{found} (is {truth})",
            fontsize=8,
            color="black" if found == truth else "crimson",
        )
        axes.set(xticks=[], yticks=[])
    figure.savefig(path)


def main(
    training_file: Path,
    test_file: Path,
    epochs: int = 120,
    seed: int = 0,
    validate: bool = False,
    picture: Path | None = None,
) -> float:
    """Train and score; returns the accuracy on the series held out."""
    torch.manual_seed(seed)
    training, held_out = vowels(training_file, test_file)
    if validate:
        shuffled = np.random.default_rng(0).permutation(len(training))
        fold = len(training) // 5
        training, held_out = training.take(shuffled[fold:]), training.take(shuffled[:fold])
    network: Any = build_model(
        "classifier",
        in_channels=training.features[0].shape[1],
        num_classes=int(training.labels.max()) + 1,
        dim=training.positions[0].shape[1],
        spacing=1.0,
        channels=(48, 96, 192),
        blocks=(1, 1, 1),
        num_neighbors=8,
        dropout=0.4,
    )
    start = time.perf_counter()
    train(network, training, epochs, seed)
    predicted = predict(network, held_out)
    accuracy = float((predicted == held_out.labels).mean())
    print(
        f"accuracy {accuracy:.4f}, {len(training)} series to learn from, {len(held_out)} held out, "
        f"{time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, held_out, predicted)
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training_file", type=Path)
    parser.add_argument("test_file", type=Path)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="score a fifth of the training series instead")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
