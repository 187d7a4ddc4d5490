"""Messages of settings read from plain values, and their way back."""

import re

import pytest

from gridless.data import FeatureSettings, InputSettings, plain_from_settings, settings_from_plain
from gridless.errors import RecipeError

GOOD = {"features": ["height", {"name": "intensity", "scale": "1e-2"}], "voxel_size": 1, "crop_radius": 5.0}


def test_shorthand_numbers_and_the_way_back():
    settings = settings_from_plain(InputSettings, GOOD)
    assert settings.features == (FeatureSettings("height"), FeatureSettings("intensity", scale=0.01))
    assert settings_from_plain(InputSettings, plain_from_settings(settings)) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxel_sise": 1}, "inputs: unknown key 'voxel_sise'; did you mean 'voxel_size'?"),
        ({"voxel_size": "wide"}, "inputs.voxel_size: expected a number, got 'wide' (str)"),
        ({"voxel_size": True}, "inputs.voxel_size: expected a number, got True (bool)"),
        ({"voxel_size": -1}, "inputs: voxel_size must be positive and finite, got -1"),
        ({"features": "height"}, "inputs.features: expected a list, got 'height' (str)"),
        ({"features": [{"scale": 2}]}, "inputs.features[0]: key 'name' is missing"),
        ({"features": [{"name": "x", "transform": "robst"}]}, "[0].transform: unknown value 'robst'; did you mean"),
        ({"features": [{"name": "x", "limits": [1]}]}, "inputs.features[0].limits: expected 2 values, got 1"),
        ({"crop_radius": float("inf")}, "inputs: crop_radius must be positive and finite, got inf"),
        ({"voxel_size": float("nan")}, "inputs: voxel_size must be positive and finite, got nan"),
        ({"features": [{"name": "x", "limits": [5, 1]}]}, "limits must be a smaller and a larger value, got (5.0,"),
        (
            {"features": [{"name": "height_above_lowest", "options": {"window": -3}}]},
            "window must be positive and finite, got -3",
        ),
        ({"features": [{"name": "local_density", "options": {"radios": 1}}]}, "option 'radios'; did you mean 'radius'"),
    ],
)
def test_messages_name_the_place(change, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        settings_from_plain(InputSettings, GOOD | change, "inputs")
