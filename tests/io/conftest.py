import numpy as np
import pytest

from gridless.cloud import PointCloud


@pytest.fixture
def cloud():
    """Forty points near UTM coordinates, on a millimetre grid, with columns of several kinds."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 100_000, (40, 3))
    return PointCloud(
        steps * 0.001 + np.array([639_000.0, 6_851_000.0, 12.0]),
        {
            "intensity": rng.integers(0, 65_536, 40).astype(np.uint16),
            "classification": rng.integers(0, 20, 40).astype(np.uint8),
            "height": rng.normal(size=40).astype(np.float32),
            "tree": rng.integers(-5, 5, 40).astype(np.int32),
        },
    )
