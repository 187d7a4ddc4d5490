"""aeon's ROCKET on series whose missing samples are interpolated; aeon is installed beside, not among the pins.

Source: Dempster et al., "ROCKET", Data Mining and Knowledge Discovery 34, 2020.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from examples.irregular_series import SeriesSet

_NUM_SAMPLES = 30


def predict(training: SeriesSet, held_out: SeriesSet, seed: int) -> NDArray[np.int64]:
    """The class of each series held out, from 10,000 random kernels and a ridge classifier."""
    from aeon.classification.convolution_based import RocketClassifier

    classifier = RocketClassifier(n_kernels=10_000, random_state=seed)
    classifier.fit(_interpolated(training), training.labels)
    predicted: NDArray[np.int64] = classifier.predict(_interpolated(held_out))
    return predicted


def _interpolated(samples: SeriesSet) -> NDArray[np.float64]:
    """[series, channels, 30] from the first known sample to the last."""
    found = []
    for positions, features in zip(samples.positions, samples.features, strict=True):
        known = positions[:, 0]
        times = np.linspace(known[0], known[-1], _NUM_SAMPLES)
        found.append([np.interp(times, known, channel) for channel in features.T])
    return np.array(found)
