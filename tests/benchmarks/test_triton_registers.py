"""The kernels as a GPU would run them: what the interpreter accepts, the compiler may refuse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need Triton")


@pytest.mark.parametrize("network", [[], ["--widest"]])
def test_every_kernel_compiles_without_a_gpu_and_spills_nothing(network, tmp_path):
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.triton_registers", "--one", *network],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    lines = finished.stdout.splitlines()
    kernels = [line.split()[0] for line in lines]
    full = ["row_sums", "weight_gradient", "messages", "message_sums"]
    assert kernels[:4] == full
    assert sorted(kernels[4:9]) == sorted([*full, "phi_gradient"])
    assert kernels[9:] == [*full[:2], *full[:2], "phi_gradient", "nearest", "farthest"]
    without_products = {"message_sums", "nearest", "farthest"}
    for kernel, line in zip(kernels, lines, strict=True):
        assert " sm_90 " in line
        assert line.endswith("fma" if kernel in without_products else "mma")
