"""How far the digits of examples/sparse_digits.py carry anyone when few of their pixels are known.

    python -m benchmarks.missing_pixels

Kernel densities of the classes, in which missing pixels are integrated out exactly, scored over five folds of the 1,347
training images; the images held out are never looked at. The width of the kernels is the best one for each
number, so that the figures flatter a little. A power law through the errors tells how many images 0.90 would take.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.sparse_digits import NUM_KNOWN, digits, known_pixels

GOAL = 0.90
NUM_FOLDS = 5
NUM_DRAWS = 4
_WIDTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
_KNOWN = (NUM_KNOWN, 19, 26, 32, 64)
_NUM_IMAGES = (67, 135, 270, 539, 1078)


def main() -> int:
    """Print both tables and the extrapolation."""
    images, labels, training, _ = digits()
    images, labels = images[training], labels[training]
    print("known pixels of 64    accuracy, from 1078 images")
    for num_known in _KNOWN:
        print(f"{num_known:8d}  {density_accuracy(images, labels, num_known, _NUM_IMAGES[-1]):.3f}", flush=True)
    print(f"images to learn from  accuracy, {NUM_KNOWN} of 64 pixels known")
    accuracies = []
    for num_images in _NUM_IMAGES:
        accuracies.append(density_accuracy(images, labels, NUM_KNOWN, num_images))
        print(f"{num_images:8d}  {accuracies[-1]:.3f}", flush=True)
    needed = images_needed(np.array(_NUM_IMAGES), np.array(accuracies), GOAL)
    print(f"a power law through these errors comes to {GOAL:.2f} with {needed:.1g} images")
    return 0


def density_accuracy(images: Tensor, labels: Tensor, num_known: int, num_images: int) -> float:
    """Accuracy on the folds left out of densities from ``num_images`` of the others; the best width of kernels."""
    hits = torch.zeros(len(_WIDTHS))
    for fold, (seen, unseen) in enumerate(_folds(len(images))):
        rng = np.random.default_rng(fold)
        chosen = rng.permutation(seen)[:num_images]
        asked, truth = images[unseen].repeat(NUM_DRAWS, 1), labels[unseen].repeat(NUM_DRAWS)
        distances = squared_distances(asked, known_pixels(len(asked), rng, num_known), images[chosen])
        for place, width in enumerate(_WIDTHS):
            found = density_logits(distances, labels[chosen], width).argmax(dim=1)
            hits[place] += (found == truth).float().mean()
    return float(hits.max()) / NUM_FOLDS


def squared_distances(asked: Tensor, known: Tensor, images: Tensor) -> Tensor:
    """[B, N] over the known pixels [B, n] of images [B, 64] to whole images [N, 64]."""
    mask = torch.zeros_like(asked).scatter(1, known, 1.0)
    values = asked * mask
    return values.square().sum(dim=1, keepdim=True) - 2 * values @ images.T + mask @ images.square().T


def density_logits(distances: Tensor, labels: Tensor, width: float) -> Tensor:
    """Σ_n exp(−d² / 2 w²) over the images of each class, its logarithm [B, 10]; the classes are equally frequent."""
    exponents = -distances / (2 * width**2)
    counts = labels.bincount(minlength=10).clamp_min(1)
    sums = [torch.logsumexp(exponents[:, labels == digit], dim=1) for digit in range(10)]
    return torch.stack(sums, dim=1) - counts.log()


def images_needed(num_images: NDArray[np.int64], accuracies: NDArray[np.float64], goal: float) -> float:
    """n at which 1 − accuracy = c n^−p falls to 1 − goal, by least squares of the logarithms."""
    slope, intercept = np.polyfit(np.log(num_images), np.log(1 - accuracies), 1)
    return float(np.exp((np.log(1 - goal) - intercept) / slope))


def _folds(number: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    size = number // NUM_FOLDS
    for fold in range(NUM_FOLDS):
        unseen = np.arange(fold * size, (fold + 1) * size)
        yield np.setdiff1d(np.arange(number), unseen), unseen


if __name__ == "__main__":
    sys.exit(main())
