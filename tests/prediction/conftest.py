import pytest
import torch

import gridless as gl
from gridless.data import FeatureSettings, InputSettings, LabelMap, plain_from_settings


@pytest.fixture
def model_of():
    """A network with random weights on the given features."""

    def build(*features, crop_radius=4.0):
        torch.manual_seed(0)
        settings = [FeatureSettings(f) if isinstance(f, str) else f for f in features]
        model = gl.build_model("pccn", in_channels=len(settings), num_classes=3, num_neighbors=8)
        model.metadata = {
            "inputs": plain_from_settings(InputSettings(tuple(settings), voxel_size=0.5, crop_radius=crop_radius)),
            "labels": plain_from_settings(LabelMap({"ground": [2], "tree": [5, 4], "house": [6]})),
        }
        return model.eval()

    return build


@pytest.fixture
def model(model_of):
    return model_of("height")
