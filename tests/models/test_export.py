"""Exported networks run where the networks themselves are not known."""

import json
import subprocess
import sys

import pytest
import torch

import gridless as gl
from gridless.models import build_model, export_model

NETWORKS = {
    "pccn_unet": {"channels": (8, 16), "blocks": (1, 1)},
    "pccn": {},
    "classifier": {"channels": (8, 16), "blocks": (1, 1)},
}

ELSEWHERE = """
import json, sys
sys.modules["gridless.models"] = None  # importing it fails from here on
import torch
import gridless.nn  # the operators
from gridless import Pyramid, PyramidSettings
notes = {"gridless.json": ""}
program = torch.export.load(sys.argv[1], extra_files=notes)
settings = PyramidSettings(**json.loads(notes["gridless.json"])["pyramid"])
inputs = torch.load(sys.argv[2])
pyramid = Pyramid.build(inputs["positions"], settings, inputs["batch"])
torch.save(program.module()(inputs["features"], pyramid.tensors()), sys.argv[3])
"""


def network(name):
    torch.manual_seed(0)
    model = build_model(name, in_channels=2, num_classes=3, **NETWORKS[name])
    return model.eval()


def cloud(num_points, num_clouds):
    generator = torch.Generator().manual_seed(num_points)
    return {
        "features": torch.randn(num_points, 2, generator=generator),
        "positions": torch.rand(num_points, 3, generator=generator) * 6,
        "batch": torch.arange(num_clouds).repeat_interleave(num_points // num_clouds),
    }


@pytest.mark.parametrize(("name", "num_clouds"), [("pccn_unet", 1), ("pccn", 1), ("classifier", 3)])
def test_a_program_gives_the_networks_logits_for_any_number_of_points(name, num_clouds):
    model = network(name).train()
    program = export_model(model, num_clouds=num_clouds)
    assert model.training
    model.eval()
    for num_points in (300, 900):
        inputs = cloud(num_points, num_clouds)
        pyramid = gl.Pyramid.build(inputs["positions"], model.pyramid_settings, inputs["batch"])
        found = program.module()(inputs["features"], pyramid.tensors())
        torch.testing.assert_close(found, model(inputs["features"], pyramid))


def test_a_program_runs_without_the_networks(tmp_path):
    model = network("pccn_unet")
    model.metadata = {"labels": ["a", "b", "c"]}
    gl.export_model(model, tmp_path / "network.pt2")
    notes = {"gridless.json": ""}
    torch.export.load(tmp_path / "network.pt2", extra_files=notes)
    assert json.loads(notes["gridless.json"])["metadata"] == model.metadata
    inputs = cloud(700, 1)
    torch.save(inputs, tmp_path / "inputs.pt")
    files = [str(tmp_path / name) for name in ("network.pt2", "inputs.pt", "logits.pt")]
    finished = subprocess.run([sys.executable, "-c", ELSEWHERE, *files], capture_output=True, text=True, timeout=200)
    assert finished.returncode == 0, finished.stderr
    pyramid = gl.Pyramid.build(inputs["positions"], model.pyramid_settings)
    torch.testing.assert_close(torch.load(files[2]), model(inputs["features"], pyramid))


def test_tensors_that_are_no_pyramid():
    with pytest.raises(ValueError, match="expected 4 tensors and 8 more for each level, got 9"):
        gl.Pyramid.from_tensors([torch.zeros(1)] * 9)
