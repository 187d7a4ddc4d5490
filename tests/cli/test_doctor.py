import sys
import tempfile
from types import ModuleType, SimpleNamespace

import pytest
import torch

from gridless import gpu
from gridless.cli import doctor as doctor_module
from gridless.cli.doctor import doctor

GPUS = [("a new one", 9), ("an old one", 7)]


@pytest.fixture
def implementations(monkeypatch):
    known = {"reference": "", "blocked": ""}
    api = ModuleType("gridless.ops.convolution.api")
    api.available_implementations = lambda: known
    monkeypatch.setitem(sys.modules, "gridless.ops.convolution.api", api)
    monkeypatch.setenv("COLUMNS", "200")
    return known


def states():
    return {check.name: (check.state, check.detail) for check in doctor_module._all_checks()}


def test_a_working_machine_gives_zero(implementations, capsys):
    assert doctor() == 0
    printed = capsys.readouterr().out
    assert "everything needed works" in printed
    assert 'impl="blocked"' in printed
    assert "100 points compressed and read back" in printed


def test_an_optional_implementation_that_cannot_run_is_a_warning_with_its_reason(implementations):
    implementations["triton"] = "no GPU"
    assert states()['continuous_conv impl="triton"'] == ("warning", "no GPU")
    assert doctor() == 0


def test_a_core_implementation_that_cannot_run_fails(implementations, capsys):
    implementations["blocked"] = "broken"
    assert doctor() == 1
    assert 'failed: continuous_conv impl="blocked"' in capsys.readouterr().out


def test_a_missing_core_package_fails_and_the_rest_is_still_shown(implementations, monkeypatch):
    monkeypatch.setitem(sys.modules, "lazrs", None)
    assert states()["lazrs"][0] == "failed"
    assert states()["temporary folder"][0] in ("ok", "warning")
    assert doctor() == 1


def test_a_temporary_folder_that_cannot_be_written_fails(implementations, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    assert states()["temporary folder"][0] == "failed"


def test_more_threads_than_cores_is_a_warning(implementations, monkeypatch):
    monkeypatch.setattr(doctor_module, "_usable_cores", lambda: 0)
    assert states()["cores"][0] == "warning"


def test_without_a_gpu_all_is_well(implementations, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    state, detail = states()["GPU"]
    assert state == "ok"
    assert "uses none: no GPU is visible to it" in detail
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "it is built without CUDA" in states()["GPU"][1]


def test_each_gpu_is_shown_with_what_auto_takes(implementations, monkeypatch):
    gpus = [SimpleNamespace(name=name, major=major, minor=0, total_memory=80 * 2**30) for name, major in GPUS]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpus[device.index])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (gpus[device.index].major, 0))
    monkeypatch.setattr(gpu, "why_unavailable", lambda: "")
    found = states()
    assert found["cuda:0"][0] == "ok"
    assert "a new one, compute capability 9.0, 80 GiB" in found["cuda:0"][1]
    assert found["cuda:1"][0] == "warning"
    assert '"auto" convolves with "triton", searches with "grid"' in found["cuda:0"][1]
    assert '"auto" convolves with "blocked", without kernels for search' in found["cuda:1"][1]
    assert "the kernels need compute capability 8.0" in found["cuda:1"][1]
    monkeypatch.setattr(gpu, "why_unavailable", lambda: "Triton is not installed")
    assert "Triton is not installed" in states()["cuda:0"][1]
