"""Digits of which four fifths of the pixels are missing: one convolution whose kernels are as wide as the image.

    python examples/sparse_digits.py --picture digits.png

Nothing is filled in. The only output point is the middle of an image, the sources are its 13 known pixels, and every
kernel is a picture interpolated between 8 × 8 knots, so that a pixel counts by where it is; dense layers follow. Data:
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

from gridless.neighbors import Neighborhoods
from gridless.nn import BatchNorm, ContinuousConv, SplineGrid

NUM_KNOWN = 13  # of 64


def pixel_positions() -> Tensor:
    """[64, 2] around the middle of the image, in pixels, row by row."""
    axis = torch.arange(8) - 3.5
    return torch.cartesian_prod(axis, axis)


class SparseImageNetwork(nn.Module):
    """From values at any points of an image to logits [B, 10]."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.to_middle = ContinuousConv(3, channels, dim=2, scale=3.5, basis=SplineGrid(2, 8), reduce="sum")
        dense: list[nn.Module] = []
        for width in (channels, channels, 10):
            dense += [BatchNorm(channels), nn.SiLU(), nn.Linear(channels, width)]
        self.dense = nn.Sequential(*dense)

    def forward(self, positions: Tensor, values: Tensor) -> Tensor:
        """positions [B, n, 2] around the middle, values [B, n] → logits [B, 10]."""
        num_images, num_known = values.shape
        # With the square, a sum over pixels can be a distance to a picture.
        features = torch.stack([values, values.square(), torch.ones_like(values)], dim=-1).flatten(0, 1)
        support = Neighborhoods.from_dense(torch.arange(num_images * num_known).unflatten(0, values.shape))
        seen = self.to_middle(features, positions.flatten(0, 1), positions.new_zeros(num_images, 2), support)
        logits: Tensor = self.dense(seen)
        return logits


def digits() -> tuple[Tensor, Tensor, NDArray[np.int64], NDArray[np.int64]]:
    """Images [1797, 64] in −1 … 1, labels, and the rows to learn from and those held out, a quarter of each class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    loaded: Any = load_digits()
    images = torch.from_numpy(loaded.data / 8 - 1).float()
    labels = torch.from_numpy(loaded.target).long()
    training, held_out = train_test_split(np.arange(len(images)), test_size=0.25, random_state=0, stratify=labels)
    return images, labels, training, held_out


def known_pixels(num_images: int, rng: np.random.Generator, num_known: int = NUM_KNOWN) -> Tensor:
    """[num_images, num_known] pixels, at random in each image."""
    return torch.from_numpy(rng.random((num_images, 64)).argsort(axis=1)[:, :num_known].copy())


def train(
    network: SparseImageNetwork,
    images: Tensor,
    labels: Tensor,
    num_known: int,
    epochs: int,
    rng: np.random.Generator,
) -> None:
    """AdamW with one cycle on batches of 256 images, of which other pixels are known each time."""
    batches = -(-len(images) // 256)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(2, epochs * batches))
    positions = pixel_positions()
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for rows in np.array_split(rng.permutation(len(images)), batches):
            known = known_pixels(len(rows), rng, num_known)
            logits = network(positions[known], images[rows].gather(1, known))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 100 == 0:
            print(f"epoch {epoch + 1:4d}  training loss {total / len(images):.3f}", flush=True)


@torch.no_grad()
def predict(network: SparseImageNetwork, images: Tensor, known: Tensor) -> Tensor:
    """The digit of each image [B]."""
    network.eval()
    return network(pixel_positions()[known], images.gather(1, known)).argmax(dim=1)


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
    epochs: int = 600,
    seed: int = 0,
    channels: int = 256,
    known: int = NUM_KNOWN,
    validate: bool = False,
    picture: Path | None = None,
) -> float:
    """Train and score; returns the accuracy on the images held out."""
    torch.manual_seed(seed)
    images, labels, training, held_out = digits()
    if validate:
        fold = len(training) // 5
        training, held_out = training[fold:], training[:fold]
    network = SparseImageNetwork(channels)
    start = time.perf_counter()
    train(network, images[training], labels[training], known, epochs, np.random.default_rng(seed))
    rng = np.random.default_rng(0)
    pixels = known_pixels(len(held_out), rng, known)
    predicted = predict(network, images[held_out], pixels)
    learned_from = (images[training], labels[training], images[held_out], pixels)
    accuracy, filled, by_known = (
        float((found == labels[held_out]).float().mean())
        for found in (
            predicted,
            nearest_neighbors(*learned_from, fill=True),
            nearest_neighbors(*learned_from, fill=False),
        )
    )
    again = predict(network, images[training], known_pixels(len(training), rng, known))
    print(
        f"accuracy {accuracy:.4f}; five neighbors on filled images {filled:.4f}, by the known pixels {by_known:.4f}; "
        f"{(again == labels[training]).float().mean():.4f} on the {len(training)} images to learn from, "
        f"{len(held_out)} held out, {time.perf_counter() - start:.0f} s"
    )
    if picture is not None:
        draw(picture, images[held_out], pixels, predicted, labels[held_out])
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--known", type=int, default=NUM_KNOWN, help="known pixels of 64")
    parser.add_argument("--validate", action="store_true", help="score a fifth of the training images instead")
    parser.add_argument("--picture", type=Path)
    main(**vars(parser.parse_args()))
