"""Time and memory of the continuous convolution, beside PyTorch Geometric's NNConv with the same weights.

    make bench

Every case first checks that both compute the same, then reports medians of repeats taken in turn in one process.
"""

from __future__ import annotations

import copy
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.nn import NNConv

import gridless as gl

REPEATS = 5


def make_case(num_points: int, k: int, channels: int) -> tuple[gl.nn.ContinuousConv, Tensor, Tensor, gl.Neighborhoods]:
    torch.manual_seed(0)
    positions = torch.rand(num_points, 3)
    features = torch.randn(num_points, channels, requires_grad=True)
    conv = gl.nn.ContinuousConv(channels, channels, bias=False, scale=0.05)
    return conv, features, positions, gl.knn(positions, positions, k)


def same_nnconv(conv: gl.nn.ContinuousConv) -> NNConv:
    """NNConv whose edge network holds the weights of ``conv``."""
    last = nn.Linear(conv.hidden[-1], conv.in_channels * conv.out_channels)
    layers: list[nn.Module] = []
    for layer in conv.kernel_layers:
        layers += [copy.deepcopy(layer), nn.ReLU()]
    network = nn.Sequential(*layers, last)
    rival = NNConv(conv.in_channels, conv.out_channels, network, aggr="mean", root_weight=False, bias=False)
    # NNConv draws new weights when it is made, so they are copied afterwards.
    with torch.no_grad():
        last.weight.copy_(conv.weight[:-1].flatten(1).T)
        last.bias.copy_(conv.weight[-1].flatten())
        for ours, theirs in zip(conv.kernel_layers.parameters(), nn.Sequential(*layers).parameters(), strict=True):
            theirs.copy_(ours)
    return rival


def time_in_turn(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each, after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def compare_with_nnconv(num_points: int) -> None:
    conv, features, positions, neighborhoods = make_case(num_points, 16, 64)
    rival = same_nnconv(conv)
    edges = neighborhoods.to_edge_index()
    offsets = (positions[edges[1]] - positions[edges[0]]) / conv.scale

    def ours() -> Tensor:
        return conv(features, positions, positions, neighborhoods)

    def theirs() -> Tensor:
        return rival(features, edges, offsets)

    with torch.no_grad():
        error = float((ours() - theirs()).abs().max() / theirs().abs().max())
    if error > 1e-5:
        raise SystemExit(f"NNConv and ContinuousConv differ by {error:.1e}")

    def backward(forward: Callable[[], Tensor], module: nn.Module) -> Callable[[], object]:
        return lambda: torch.autograd.grad(forward().sum(), [features, *module.parameters()])

    with torch.no_grad():
        forward = time_in_turn({"gridless": ours, "NNConv": theirs})
    both = time_in_turn({"gridless": backward(ours, conv), "NNConv": backward(theirs, rival)})
    for what, result in (("forward", forward), ("forward + backward", both)):
        ratio = result["NNConv"] / result["gridless"]
        print(
            f"| N = {num_points}, K = 16, 64 → 64 | {what} | {result['gridless']:.0f} ms | {result['NNConv']:.0f} ms "
            f"| {ratio:.1f} × |"
        )


def time_alone(num_points: int) -> None:
    conv, features, positions, neighborhoods = make_case(num_points, 16, 64)
    matrix = torch.randn(2048, 2048)

    def forward() -> Tensor:
        return conv(features, positions, positions, neighborhoods)

    with torch.no_grad():
        first = time_in_turn({"forward": forward, "gemm": lambda: matrix @ matrix})
    both = time_in_turn({"both": lambda: torch.autograd.grad(forward().sum(), [features, *conv.parameters()])})
    rate = 2 * 2048**3 / first["gemm"] / 1e6
    # Useful work of the cheaper order: pairs · H · C + M · H · C · C multiply-adds.
    width = conv.weight.shape[0]
    floor = 2 * (neighborhoods.num_pairs * width * 64 + num_points * width * 64 * 64) / rate / 1e6
    print(
        f"| N = {num_points}, K = 16, 64 → 64 | {first['forward']:.0f} ms | {both['both']:.0f} ms "
        f"| {floor:.0f} ms at the {rate:.0f} GFLOP/s of a 2048³ GEMM |"
    )


def resident_megabytes(key: str) -> float:
    """VmRSS (now) or VmHWM (peak); getrusage would start from the peak of the parent process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def print_peak_memory(num_points: int) -> None:
    """Forward and backward in this process, which must be fresh; Linux only."""
    start = resident_megabytes("VmRSS")
    conv, features, positions, neighborhoods = make_case(num_points, 16, 64)
    conv(features, positions, positions, neighborhoods).sum().backward()
    peak = resident_megabytes("VmHWM") - start
    print(f"| N = {num_points}, K = 16, 64 → 64, inputs and search included | {peak:.0f} MB |")


def main() -> None:
    if len(sys.argv) > 1:
        print_peak_memory(int(sys.argv[1]))
        return
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| case | pass | gridless | NNConv | faster |\n| --- | --- | --- | --- | --- |")
    compare_with_nnconv(4096)
    print("\n| case | forward | forward + backward | floor of the forward pass |\n| --- | --- | --- | --- |")
    time_alone(16384)
    print("\n| forward + backward | peak above start |\n| --- | --- |")
    for num_points in (16384, 100_000):
        subprocess.run([sys.executable, __file__, str(num_points)], check=True)


if __name__ == "__main__":
    main()
