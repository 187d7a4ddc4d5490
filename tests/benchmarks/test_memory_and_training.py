"""Peak memory in a fresh process, and training steps, on tiny sizes."""

from pathlib import Path

import pytest
import torch

from benchmarks import training_step
from benchmarks.layer_memory import measure_memory
from benchmarks.rivals import plain
from benchmarks.suite import MemoryCase, Sizes, TrainingCase
from benchmarks.training_step import convolved_by, measure_training
from gridless.models import build_model
from gridless.pyramid import Pyramid

TINY_TRAINING = TrainingCase(
    "tiny", against=("plain",), crops_per_step=1, scene_size=15.0, warm_up=1, steps=1, rounds=1
)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_that_of_the_pass():
    """The plain layer's sums alone are 2000 · 33 · 64 float32; ours has no such tensor."""
    ours, theirs = measure_memory("tiny", MemoryCase("tiny", Sizes(points=2000), ("forward",), ("plain",)))
    assert not ours.note
    assert not theirs.note
    sums = 4 * 2000 * 33 * 64 / 2**20
    assert theirs.peak_megabytes > sums
    assert theirs.peak_megabytes < theirs.process_megabytes
    assert ours.peak_megabytes < sums + 10


def test_networks_differ_only_in_what_computes_their_convolutions():
    network = build_model("pccn_unet", in_channels=2, num_classes=3, channels=(8, 16), blocks=(1, 1))
    pyramid = Pyramid.build(torch.rand(300, 3) * 10, network.pyramid_settings)
    features = torch.randn(300, 2)
    calls = []

    def counted(layer, *arguments):
        calls.append(layer)
        return plain.forward(layer, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training_step._REPLACEMENTS, "plain", counted)
        rival = convolved_by(network, "plain")
    torch.testing.assert_close(rival(features, pyramid), network(features, pyramid))
    own = set(map(id, rival.modules()))
    assert len(calls) == 3
    assert all(id(layer) in own for layer in calls), "computes with the weights of another network"


def test_training_step_gives_rates():
    rows = measure_training("tiny", TINY_TRAINING)
    assert [row.contender for row in rows] == ["auto", "plain"]
    for row in rows:
        assert not row.failed, row.note
        assert row.milliseconds == pytest.approx(1e3 * row.points / row.points_per_second, rel=0.01)
    assert rows[1].times_ours == pytest.approx(rows[0].points_per_second / rows[1].points_per_second)
    assert rows[1].difference < 1e-2


def test_a_wrong_convolution_is_not_timed(monkeypatch):
    # A wrong factor would not do: the normalization behind each convolution takes it out.
    monkeypatch.setitem(training_step._REPLACEMENTS, "plain", lambda *arguments: plain.forward(*arguments).abs())
    _, row = measure_training("tiny", TINY_TRAINING)
    assert row.failed
    assert row.milliseconds is None
