"""Temperature scaling finds the temperature that was hidden in the data, and calibrates an overconfident network."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from gridless.training.calibration import COLDEST, HOTTEST, fit_temperature


def drawn(temperature, num_points=40_000, num_classes=5):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num_points, num_classes, generator=generator)
    labels = torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=generator)[:, 0]
    return logits, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_hidden_temperature_is_found(temperature):
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_an_overconfident_network_is_calibrated():
    logits, labels = drawn(4.0)
    halves = logits.chunk(2), labels.chunk(2)
    temperature = fit_temperature(halves[0][0], halves[1][0])

    def error(scores):
        return float(multiclass_calibration_error(scores.softmax(dim=1), halves[1][1], num_classes=5))

    before, after = error(halves[0][1]), error(halves[0][1] / temperature)
    assert before > 0.3
    assert after < 0.02


def test_a_network_that_is_always_right_or_always_wrong_gets_a_bounded_temperature():
    logits = torch.tensor([[5.0, 0.0]] * 10)
    assert fit_temperature(logits, torch.zeros(10, dtype=torch.int64)) == pytest.approx(COLDEST)
    assert fit_temperature(logits, torch.ones(10, dtype=torch.int64)) == pytest.approx(HOTTEST)
    assert fit_temperature(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)) == 1.0


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"labels must be \[n\] for logits \[n, C\], got \(3,\) and \(2, 4\)"):
        fit_temperature(torch.zeros(2, 4), torch.zeros(3, dtype=torch.int64))
