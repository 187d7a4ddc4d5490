"""The programs in examples/ run, in small."""

import math

import gridless as gl
from examples import training_loop


def test_training_loop(tmp_path):
    score = training_loop.main(steps=3, size=20.0, output=tmp_path / "model.safetensors")
    assert math.isfinite(score)
    assert gl.load_model(tmp_path / "model.safetensors").metadata["inputs"]["voxel_size"] == 0.5
