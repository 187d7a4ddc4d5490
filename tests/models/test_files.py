"""Models on disk: exact round trips, damaged and foreign files, no half-written ones."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gridless.errors import ReadError
from gridless.models import build_model, load_model, save_model
from gridless.pyramid import Pyramid

CONFIGS = {
    "pccn": {"num_neighbors": 8},
    "pccn_unet": {"channels": (8, 16), "blocks": (1, 2), "spacing": 0.1, "window": "gaussian"},
    "classifier": {"channels": (8, 16), "blocks": (1, 1), "spacing": 0.1},
}


def make(name="pccn"):
    return build_model(name, in_channels=2, num_classes=3, **CONFIGS[name])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, make())
    return path


@pytest.mark.parametrize("name", list(CONFIGS))
def test_round_trip_is_exact(tmp_path, name):
    model, path = make(name), tmp_path / "model.safetensors"
    model.metadata = {"classes": ["ground", "Gebäude"], "scale": 0.1, "nested": {"ignored": [None, 7]}}
    positions, features = torch.rand(50, 3), torch.randn(50, 2)
    pyramid = Pyramid.build(positions, model.pyramid_settings)
    model.train()(features, pyramid)  # moves the running statistics, which belong to the model
    save_model(path, model)
    loaded = load_model(path)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.metadata == model.metadata
    assert torch.equal(loaded(features, pyramid), model.eval()(features, pyramid))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_half_precision_takes_half_the_bytes_and_is_read_as_float32(tmp_path):
    model, whole, half = make(), tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_model(whole, model)
    save_model(half, model, half=True)
    loaded = load_model(half)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    for name, tensor in model.state_dict().items():
        read = loaded.state_dict()[name]
        assert read.dtype == tensor.dtype
        assert torch.allclose(read, tensor, rtol=2**-10, atol=1e-7)


def test_what_is_too_large_for_half_precision_is_not_written(tmp_path):
    model = make()
    name, parameter = next(iter(model.named_parameters()))
    parameter.data.fill_(1e5)
    with pytest.raises(ValueError, match=f"{name} has numbers beyond 65504"):
        save_model(tmp_path / "model.safetensors", model, half=True)
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_the_file(saved):
    (saved.parent / "ordinary").write_text("")
    assert saved.stat().st_mode == (saved.parent / "ordinary").stat().st_mode


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such model file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_file(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ReadError, match=r"model\.safetensors: damaged model file"):
        load_model(saved)


def test_damaged_bytes(saved):
    data = bytearray(saved.read_bytes())
    data[:200] = b"\x93" * 200
    saved.write_bytes(bytes(data))
    with pytest.raises(ReadError, match="damaged model file"):
        load_model(saved)


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"format": "gridless-model-1", "name": "resnet"}])
def test_foreign_safetensors(tmp_path, header):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata=header)
    with pytest.raises(ReadError, match="not a gridless model"):
        load_model(path)


@pytest.mark.parametrize(
    "broken",
    [
        {"config": "{"},
        {"config": "[1]"},
        {"config": json.dumps({"in_channels": 2, "num_classes": 3, "chanels": [1]})},
        {"config": json.dumps({"in_channels": 0, "num_classes": 3})},
        {"metadata": "nothing"},
        {"metadata": None},
    ],
)
def test_damaged_header(saved, broken):
    model = make()
    header = {"format": "gridless-model-1", "name": "pccn", "metadata": "{}", "config": json.dumps(model.config)}
    header = {key: value for key, value in (header | broken).items() if value is not None}
    save_file(model.state_dict(), saved, metadata=header)
    with pytest.raises(ReadError, match=r"model\.safetensors: damaged model file"):
        load_model(saved)


@pytest.mark.parametrize("change", ["shape", "missing", "surplus"])
def test_weights_that_do_not_fit(saved, change):
    tensors, model = load_file(saved), make()
    if change == "shape":
        tensors["classifier.bias"] = torch.zeros(4)
    elif change == "missing":
        del tensors["classifier.bias"]
    else:
        tensors["classifier.extra"] = torch.zeros(4)
    header = {"format": "gridless-model-1", "name": "pccn", "metadata": "{}", "config": json.dumps(model.config)}
    save_file(tensors, saved, metadata=header)
    with pytest.raises(ReadError, match=r"tensor 'classifier\.(bias|extra)' has shape .* the configuration asks"):
        load_model(saved)


@pytest.mark.parametrize("change", [{"channels": (8, 10**9)}, {"channels": (8, 10**18)}, {"blocks": (1, 10**9)}])
def test_a_configuration_that_asks_for_more_than_the_file_holds_costs_neither_memory_nor_time(saved, change):
    model = make("pccn_unet")
    header = {"format": "gridless-model-1", "name": model.name, "metadata": "{}"}
    save_file(model.state_dict(), saved, metadata=header | {"config": json.dumps(model.config | change)})
    with pytest.raises(ReadError, match=r"the configuration asks|damaged model file"):
        load_model(saved)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, r"the file is larger than its disk or the limit of this process \(ulimit -f\) allows"),
    ],
)
def test_interrupted_write_leaves_the_old_file(saved, monkeypatch, number, message):
    before = saved.read_bytes()

    def half(path, content):
        path.write_text("half")
        raise OSError(number, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        for path in (saved, saved.with_name("new.safetensors")):
            with pytest.raises(OSError, match=rf"{message}; this file .*{path.name}"):
                save_model(path, make())
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]
    assert saved.read_bytes() == before


def test_notes_that_are_not_json(saved):
    model = make()
    model.metadata = {"classes": {1, 2}}
    before = saved.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        save_model(saved, model)
    assert saved.read_bytes() == before
