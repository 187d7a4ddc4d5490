"""The convolution never holds the kernels of all pairs, in the forward pass or in the backward pass."""

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_GB = 1.2

# A process of its own: the peak of a process never falls, and a test runner's has seen a lot. Read from /proc because
# getrusage's ru_maxrss starts from the peak of the process that started this one.
MEMORY = """
import sys, torch, gridless as gl

def memory(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key))
    return int(line.split()[1]) / 1024**2
"""
FIXED_NEIGHBORS = """
conv = gl.nn.ContinuousConv(64, 64, dim=3, hidden=(16, 32))
start = memory("VmRSS")
num_points = 100_000
features = torch.randn(num_points, 64, requires_grad=True)
positions = torch.randn(num_points, 3, requires_grad=sys.argv[1] == "positions")
indices = torch.randint(num_points, (num_points * 16,))
rows = gl.Neighborhoods(indices, torch.arange(num_points + 1) * 16)
out = conv(features, positions, positions, rows)
out.square().mean().backward()
tensors = [features, *conv.parameters()] + ([positions] if sys.argv[1] == "positions" else [])
assert all(tensor.grad.isfinite().all() and tensor.grad.abs().max() > 0 for tensor in tensors)
print(memory("VmHWM") - start)
"""
ALL_PAIRS = """
conv = gl.nn.ContinuousConv(2, 2, dim=2, hidden=(4,))
start = memory("VmRSS")
features, positions = torch.randn(5000, 2, requires_grad=True), torch.rand(5000, 2)
conv(features, positions, positions, gl.neighbors.AllPairs(5000, 5000)).square().sum().backward()
assert features.grad.abs().max() > 0
print(memory("VmHWM") - start)
"""


def peak_of(script, *arguments):
    """GB above the start."""
    command = [sys.executable, "-c", MEMORY + script, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return float(run.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("wanted", ["weights", "positions"])
def test_hundred_thousand_points_forward_and_backward(wanted, record_property):
    """64 to 64 channels, 16 neighbors: the kernels alone would be 26 GB."""
    peak = peak_of(FIXED_NEIGHBORS, wanted)
    record_property("peak_gb", peak)
    # Features, output and their gradients are 0.1 GB: less would mean that nothing was measured.
    assert 0.1 < peak < LIMIT_GB, f"{peak:.2f} GB above the start"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_all_pairs_are_never_held_at_once():
    """25 million pairs, whose indices and offsets alone would be 0.4 GB, and 1 GB with φ."""
    assert peak_of(ALL_PAIRS) < 0.35
