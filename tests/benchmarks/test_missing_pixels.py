"""Kernel densities over known pixels, and the extrapolation of a learning curve."""

import math

import numpy as np
import pytest
import torch

from benchmarks import missing_pixels


def test_distances_see_known_pixels_only():
    generator = torch.Generator().manual_seed(0)
    asked, images = torch.rand(4, 64, generator=generator), torch.rand(7, 64, generator=generator)
    known = torch.tensor([[0, 5], [63, 1], [2, 3], [7, 8]])
    expected = [[sum((asked[b, p] - image[p]) ** 2 for p in known[b]) for image in images] for b in range(4)]
    torch.testing.assert_close(missing_pixels.squared_distances(asked, known, images), torch.tensor(expected))


def test_densities_are_averages_over_the_images_of_a_class():
    distances, labels = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([3, 3, 8])
    logits = missing_pixels.density_logits(distances, labels, width=0.5)
    mean = (math.exp(-2.0) + math.exp(-4.0)) / 2
    assert logits[0, 3].item() == pytest.approx(math.log(mean))
    assert logits[0, 8].item() == pytest.approx(-1.0)
    assert logits[0, 0] == -math.inf


def test_what_is_told_apart_by_its_pixels_is_told_apart():
    """Ten classes, each bright in its own tenth of the pixels: few pixels leave some undecided, all of them none."""
    labels = torch.arange(300) % 10
    images = (torch.arange(64) * 10 // 64 == labels[:, None]).float()
    few, all_of_them = (missing_pixels.density_accuracy(images, labels, known, 100) for known in (2, 64))
    assert few < 0.6
    assert all_of_them == 1.0


def test_a_power_law_is_found_again():
    num_images = np.array([50, 200, 1000])
    assert missing_pixels.images_needed(num_images, 1 - 2 * num_images**-0.3, 0.9) == pytest.approx(20 ** (1 / 0.3))
