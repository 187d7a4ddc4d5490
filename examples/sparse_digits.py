"""Digits of which four fifths of the pixels are missing: from the known pixels to a grid, and on from there.

    python examples/sparse_digits.py --picture digits.png

Nothing is filled in. The first layer takes its inputs at the 13 known pixels of an image and gives its outputs at all
64; two residual layers, a pooling to 4 × 4 points and a layer whose only output point is the middle follow. Data:
scikit-learn's 1,797 digits of 8 × 8 pixels.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gridless.neighbors import Neighborhoods, all_pairs, within_radius
from gridless.nn import BatchNorm, ContinuousConv, ConvBlock, Pool, SplineGrid

NUM_KNOWN = 13  # of 64


def grid(side: int, spacing: float) -> Tensor:
    """[side², 2] points around the origin, row by row."""
    axis = (torch.arange(side) - (side - 1) / 2) * spacing
    return torch.cartesian_prod(axis, axis)


class SparseImageNetwork(nn.Module):
    """From values at any points of an image to logits [B, 10]."""

    def __init__(self, channels: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.pixels, self.coarse, self.middle = grid(8, 1.0), grid(4, 2.0), torch.zeros(1, 2)
        self.fine_rows = within_radius(self.pixels, self.pixels, 1.5)
        self.pooling_rows = within_radius(self.pixels, self.coarse, 0.8)
        self.coarse_rows = within_radius(self.coarse, self.coarse, 3.0)
        self.middle_rows = all_pairs(torch.zeros(16, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
        # These two look far and have to tell one pixel from the next: kernels interpolated from values on a grid.
        self.to_grid = ContinuousConv(2, 2 * channels, dim=2, scale=7.0, basis=SplineGrid(2, 15))
        self.fine = nn.ModuleList(
            [
                ConvBlock(2 * channels, channels, dim=2, scale=1.5),
                ConvBlock(channels, channels, dim=2, residual=True, scale=1.5),
            ]
        )
        self.pool = Pool("max")
        self.coarse_block = ConvBlock(channels, 2 * channels, dim=2, scale=3.0)
        self.to_middle = ContinuousConv(2 * channels, 4 * channels, dim=2, scale=3.0, basis=SplineGrid(2, 4))
        self.head = nn.Sequential(BatchNorm(4 * channels), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * channels, 10))

    def forward(self, positions: Tensor, values: Tensor) -> Tensor:
        """positions [B, n, 2], values [B, n] → logits [B, 10]."""
        num_images, num_known = values.shape
        images = torch.arange(num_images)
        pairs = all_pairs(images.repeat_interleave(num_known), images.repeat_interleave(64))
        features = torch.stack([values, torch.ones_like(values)], dim=-1).flatten(0, 1)
        pixels, coarse, middle = (part.repeat(num_images, 1) for part in (self.pixels, self.coarse, self.middle))
        features = F.relu(self.to_grid(features, positions.flatten(0, 1), pixels, pairs))
        for block in self.fine:
            features = block(features, pixels, pixels, _of_each(self.fine_rows, num_images, 64))
        features = self.pool(features, _of_each(self.pooling_rows, num_images, 64))
        features = self.coarse_block(features, coarse, coarse, _of_each(self.coarse_rows, num_images, 16))
        features = self.to_middle(features, coarse, middle, _of_each(self.middle_rows, num_images, 16))
        logits: Tensor = self.head(features)
        return logits


def _of_each(rows: Neighborhoods, num_images: int, num_sources: int) -> Neighborhoods:
    """The same supports in each of several images."""
    return Neighborhoods.concatenate([rows] * num_images, [num_sources] * num_images)


def digits() -> tuple[Tensor, Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Images [1797, 64] in −1 … 1, labels, and the rows to learn from and those held out, a quarter of each class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    loaded: Any = load_digits()
    images = torch.from_numpy(loaded.data / 8 - 1).float()
    labels = torch.from_numpy(loaded.target).long()
    training, held_out = train_test_split(np.arange(len(images)), test_size=0.25, random_state=0, stratify=labels)
    return images, labels, training, held_out


def known_pixels(num_images: int, rng: np.random.Generator) -> Tensor:
    """[num_images, 13] pixels, at random in each image."""
    return torch.from_numpy(rng.random((num_images, 64)).argsort(axis=1)[:, :NUM_KNOWN].copy())


def train(network: SparseImageNetwork, images: Tensor, labels: Tensor, epochs: int, rng: np.random.Generator) -> None:
    """AdamW with one cycle on batches of 32 images, of which other pixels are known each time."""
    batches = -(-len(images) // 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=max(2, epochs * batches))
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for rows in np.array_split(rng.permutation(len(images)), batches):
            known = known_pixels(len(rows), rng)
            turned = torch.eye(2) + torch.from_numpy(rng.normal(0, 0.08, (2, 2))).float()
            positions = network.pixels[known] @ turned + torch.from_numpy(rng.normal(0, 0.2, 2)).float()
            loss = F.cross_entropy(
                network(positions, images[rows].gather(1, known)), labels[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}  training loss {total / len(images):.3f}", flush=True)


@torch.no_grad()
def predict(network: SparseImageNetwork, images: Tensor, known: Tensor) -> Tensor:
    """The digit of each image [B]."""
    network.eval()
    values = images.gather(1, known)
    parts = [
        network(network.pixels[k], v).argmax(dim=1) for k, v in zip(known.split(128), values.split(128), strict=True)
    ]
    return torch.cat(parts)


def nearest_neighbors(images: Tensor, labels: Tensor, asked: Tensor, known: Tensor, fill: bool) -> Tensor:
    """The digit by the five nearest training images: by all pixels, missing ones filled with means, or by the known."""
    mask = torch.zeros_like(asked).scatter(1, known, 1.0)
    filled = asked * mask + images.mean(dim=0) * (1 - mask)
    counts = torch.ones_like(mask) if fill else mask
    # Σ_p counts (a − b)² without a table of all images times all pixels.
    distances = (counts * filled**2).sum(1, keepdim=True) - 2 * (counts * filled) @ images.T + counts @ (images**2).T
    return labels[distances.topk(5, largest=False).indices].mode(dim=1).values


def draw(path: Path, images: Tensor, known: Tensor, predicted: Tensor, labels: Tensor) -> None:
    """The known pixels of some images, with the digit that they were taken for and, where it differs, the true one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for place, axes in enumerate(figure.subplots(3, 8).flat):
        shown = np.full(64, np.nan)
        shown[known[place]] = images[place][known[place]]
        axes.imshow(shown.reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
        axes.set_facecolor("lightsteelblue")
        wrong = "" if predicted[place] == labels[place] else f" (is {labels[place]})"
        axes.set_title(f"{predicted[place]}{wrong}", fontsize=8, color="crimson" if wrong else "black")
        axes.set(xticks=[], yticks=[])
    figure.savefig(path)


def main(
    epochs: int = 80, seed: int = 0, channels: int = 32, validate: bool = False, picture: Path | None = None
) -> float:
    """Train and score; returns the accuracy on the images held out."""
    torch.manual_seed(seed)
    images, labels, training, held_out = digits()
    if validate:
        fold = len(training) // 5
        training, held_out = training[fold:], training[:fold]
    network = SparseImageNetwork(channels)
    start = time.perf_counter()
    train(network, images[training], labels[training], epochs, np.random.default_rng(seed))
    known = known_pixels(len(held_out), np.random.default_rng(0))
    predicted = predict(network, images[held_out], known)
    learned_from = (images[training], labels[training], images[held_out], known)
    accuracy, filled, by_known = (
        float((found == labels[held_out]).float().mean())
        for found in (
            predicted,
            nearest_neighbors(*learned_from, fill=True),
            nearest_neighbors(*learned_from, fill=False),
        )
    )
    print(
        f"accuracy {accuracy:.4f}; five neighbors on filled images {filled:.4f}, by the known pixels {by_known:.4f}"
        f"; {len(training)} images to learn from, {len(held_out)} held out, {time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, images[held_out], known, predicted, labels[held_out])
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--validate", action="store_true", help="score a fifth of the training images instead")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
