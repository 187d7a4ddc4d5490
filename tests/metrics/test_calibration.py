"""The expected calibration error against a loop over its bins."""

import math

import numpy as np
import pytest

from gridless.metrics import calibration_sums, expected_calibration_error


def two_classes(confidence, is_right, dtype=np.float64):
    confidence = np.asarray(confidence, dtype)
    return np.where(is_right, 0, np.ones(len(confidence), int)), np.stack([confidence, 1 - confidence], axis=1)


def test_certain_predictions_share_the_last_bin():
    confidence = np.repeat([1.0, 0.95], 500)
    truth, probabilities = two_classes(confidence, np.arange(1000) >= 50)
    assert expected_calibration_error(calibration_sums(truth, probabilities)) == pytest.approx(0.025)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bin_takes_its_upper_end_and_not_its_lower(dtype):
    truth, probabilities = two_classes([0.6, np.nextafter(dtype(0.6), dtype(1)), 0.8, 1.0], True, dtype)
    assert calibration_sums(truth, probabilities, num_bins=5)[0].tolist() == [0, 0, 1, 2, 1]


def test_sums_of_parts_equal_a_loop_over_bins():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.4] * 3, 500).astype(np.float32)
    truth = rng.integers(-1, 3, 500)
    parts = [calibration_sums(truth[part], probabilities[part]) for part in (slice(0), slice(120), slice(120, 500))]
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    known, expected = truth >= 0, 0.0
    for k in range(15):
        inside = known & (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.sum() / known.sum() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(np.sum(parts, axis=0)) == pytest.approx(expected, rel=1e-6)


def test_nothing_counted_has_no_error():
    truth, probabilities = np.array([-1]), np.array([[1.0, 0.0]])
    assert math.isnan(expected_calibration_error(calibration_sums(truth, probabilities)))
