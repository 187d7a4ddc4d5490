"""What the Triton kernels take on a GPU, without one: compiled ahead of time, in the shapes of the benchmark.

    python -m benchmarks.triton_registers [--write] [--one]

prints a row a kernel: registers a thread, bytes spilled, bytes of shared memory, and which products are in it: the
tensor cores' wide ones (wgmma), their narrow ones (mma), or none of theirs (fma). --write puts the table into
benchmarks/results/triton_registers.csv; --one takes one number of channels, precision and architecture. It ends with 1
where a kernel spills.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results" / "triton_registers.csv"
KERNELS = ("row_sums_kernel", "weight_gradient_kernel", "phi_gradient_kernel")
CHANNELS = (32, 64, 256)
PRECISIONS = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
ARCHITECTURES = (80, 90)
COLUMNS = (
    "kernel", "kernels", "basis", "channels", "precision", "architecture", "warps", "registers", "spilled bytes",
    "shared bytes", "products",
)  # fmt: skip
# The base network's, and the widest that the kernels evaluate.
BASE_HIDDEN, WIDEST_HIDDEN = (16, 32), (64, 64)
_POINTERS = {torch.int64: "*i64", torch.float32: "*fp32", torch.bfloat16: "*bf16"}


def problem(
    channels: int, dtype: torch.dtype, depthwise: bool, basis: str, hidden: tuple[int, ...] = BASE_HIDDEN
) -> Any:
    """A few points with 16 neighbors each and a kernel MLP: sizes do not matter, channels and widths do.

    The kernels evaluate "mlp_silu" themselves, "given" they read.
    """
    from gridless.ops.convolution.kernel import Kernel
    from gridless.ops.convolution.problem import Problem

    num_points = 64
    num_pairs, width = num_points * 16, hidden[-1] + 1
    positions = torch.rand(num_points, 3)
    parameters = [torch.randn(num_pairs, width)] if basis == "given" else []
    for fan_in, fan_out in itertools.pairwise((3, *hidden) if basis != "given" else ()):
        parameters += [torch.randn(fan_out, fan_in), torch.randn(fan_out)]
    shape = (width, channels) if depthwise else (width, channels, channels)
    return Problem(
        torch.randn(num_points, channels).to(dtype), positions, positions,
        torch.randint(num_points, (num_pairs,)), torch.arange(num_points + 1) * 16, torch.randn(shape),
        Kernel(basis, tuple(parameters), "none", ()), None,
    )  # fmt: skip


class _Recorder:
    """Stands for a kernel and keeps what it is launched with."""

    def __init__(self, kernel: Any, launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments, **options: self.launches.append((self.kernel, arguments, options))


@contextmanager
def recorded(module: Any) -> Iterator[list[tuple[Any, tuple[Any, ...], dict[str, Any]]]]:
    """Launches of a module's kernels, none of which runs."""
    kernels = {name: getattr(module, name) for name in KERNELS}
    launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    for name, kernel in kernels.items():
        setattr(module, name, _Recorder(kernel, launches))
    try:
        yield launches
    finally:
        for name, kernel in kernels.items():
            setattr(module, name, kernel)


def compiled(kernel: Any, arguments: tuple[Any, ...], options: dict[str, Any], architecture: int) -> tuple[Any, str]:
    """The kernel as it would be made for these arguments on a GPU of this architecture, and the assembler's report."""
    import triton
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {name: value for name, value in options.items() if name in kernel.arg_names}
    launch_options = {name: value for name, value in options.items() if name not in constants}
    signature, attributes = {}, {}
    for place, (name, value) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
        if isinstance(value, torch.Tensor):
            signature[name] = _POINTERS[value.dtype]
            attributes[(place,)] = [["tt.divisibility", 16]]
        elif value == 1:
            constants[name] = value
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(place,)] = [["tt.divisibility", 16]]
    signature |= dict.fromkeys(constants, "constexpr")
    signature = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(n),): v for n, v in constants.items()}, attributes)
    report = io.StringIO()
    with knobs.nvidia.scope(), knobs.compilation.scope(), redirect_stdout(report):
        knobs.nvidia.dump_ptxas_log = knobs.compilation.always_compile = True
        binary = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=launch_options)
    return binary, report.getvalue()


def rows(
    all_channels: Sequence[int], precisions: Sequence[str], architectures: Sequence[int], hidden: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """The table, kernel by kernel."""
    from gridless.ops.convolution import triton, triton_depthwise, triton_full

    before = torch.get_float32_matmul_precision()
    for channels, precision, depthwise, basis in itertools.product(
        all_channels, precisions, (False, True), ("mlp_silu", "given")
    ):
        if depthwise and channels != 64:  # their tiles are the same for all of these
            continue
        module = triton_depthwise if depthwise else triton_full
        torch.set_float32_matmul_precision(PRECISIONS[precision])
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        case = problem(channels, dtype, depthwise, basis, hidden)
        with recorded(module) as launches:
            triton.forward(case)
            wanted = {"weight", "basis.0"} if basis == "given" else {"weight"}
            triton.backward(case, torch.ones(len(case.features), channels), wanted)
        torch.set_float32_matmul_precision(before)
        for (kernel, arguments, options), architecture in itertools.product(launches, architectures):
            binary, report = compiled(kernel, arguments, options, architecture)
            registers = int(re.findall(r"Used (\d+) registers", report)[0])
            spilled = sum(map(int, re.findall(r"(\d+) bytes spill", report)))
            ptx = binary.asm["ptx"]
            products = "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else "fma"
            yield dict(zip(COLUMNS, (
                kernel.__name__.removesuffix("_kernel"), "depth-wise" if depthwise else "full", basis, channels,
                precision, f"sm_{architecture}", binary.metadata.num_warps, registers, spilled,
                binary.metadata.shared, products,
            ), strict=True))  # fmt: skip


def main() -> int:
    """The command; 1 where a kernel spills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--one", action="store_true", help="64 channels in bfloat16 for sm_90 only")
    parser.add_argument("--widest", action="store_true", help="with the widest kernel network instead of the base's")
    options = parser.parse_args()
    hidden = WIDEST_HIDDEN if options.widest else BASE_HIDDEN
    one = rows((64,), ("bfloat16",), (90,), hidden)
    table = []
    for row in one if options.one else rows(CHANNELS, tuple(PRECISIONS), ARCHITECTURES, hidden):
        print("  ".join(f"{value!s:>{max(len(name), 9)}}" for name, value in row.items()), flush=True)
        table.append(row)
    if options.write:
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    return 1 if any(row["spilled bytes"] for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
