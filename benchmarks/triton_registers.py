"""What the Triton kernels take on a GPU, without one: compiled ahead of time, in the shapes of the benchmark.

    python -m benchmarks.triton_registers [--write] [--one] [--report-only] [--widest]

prints a row a kernel (of the convolution, of search and of subsampling): registers a thread, bytes spilled, bytes of
shared memory, and which products are in it: the tensor cores' wide ones (wgmma), their narrow ones (mma), or none of
theirs (fma). --write puts the table into benchmarks/results/triton_registers.csv and a summary into BENCHMARKS.md, as
--report-only does with the table that there is; --one takes one number of channels, precision and architecture. It ends
with 1 where a kernel spills.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks import report

RESULTS = Path(__file__).parent / "results" / "triton_registers.csv"
DOCUMENT = Path(__file__).parents[1] / "BENCHMARKS.md"
COMMAND = "python -m benchmarks.triton_registers --write"
#: Where the kernels are.
MODULES = (
    "gridless.ops.convolution.triton_full", "gridless.ops.convolution.triton_depthwise",
    "gridless.ops.convolution.triton_messages", "gridless.neighbors.triton_scan", "gridless.subsample.triton_farthest",
)  # fmt: skip
CHANNELS = (32, 64, 256)
PRECISIONS = {"float32": "highest", "tf32": "high", "bfloat16": "highest"}
ARCHITECTURES = (80, 90)
COLUMNS = (
    "kernel", "kernels", "basis", "channels", "precision", "architecture", "warps", "registers", "spilled bytes",
    "shared bytes", "products",
)  # fmt: skip
# A layer's by default, and the widest that the kernels evaluate.
LAYER_HIDDEN, WIDEST_HIDDEN = (16, 32), (64, 64)
# The lengths of rows that are searched for.
NEIGHBORS = (16, 32, 64, 256)
_POINTERS = {
    torch.int64: "*i64", torch.int32: "*i32", torch.int8: "*i8",
    torch.float64: "*fp64", torch.float32: "*fp32", torch.bfloat16: "*bf16",
}  # fmt: skip
_COMPILED: dict[str, tuple[Any, str]] = {}
Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]


def problem(
    channels: int, dtype: torch.dtype, depthwise: bool, basis: str, hidden: tuple[int, ...] = LAYER_HIDDEN
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

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments, **options: self.launches.append((self.kernel, arguments, options))


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Launches of all kernels, none of which runs."""
    launches: list[Launch] = []
    with ExitStack() as stack:
        for name in MODULES:
            module = importlib.import_module(name)
            for attribute, kernel in list(vars(module).items()):
                if attribute.endswith("_kernel"):
                    stack.enter_context(mock.patch.object(module, attribute, _Recorder(kernel, launches)))
        yield launches


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
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(place,)] = [["tt.divisibility", 16]]
    signature |= dict.fromkeys(constants, "constexpr")
    signature = {name: signature[name] for name in kernel.arg_names}
    # Sizes that are told to a kernel when it is launched make no other kernel.
    key = repr((kernel.fn.__module__, kernel.__name__, signature, constants, attributes, options, architecture))
    if key in _COMPILED:
        return _COMPILED[key]
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(n),): v for n, v in constants.items()}, attributes)
    log = io.StringIO()
    with knobs.nvidia.scope(), knobs.compilation.scope(), redirect_stdout(log):
        knobs.nvidia.dump_ptxas_log = knobs.compilation.always_compile = True
        binary = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=launch_options)
    _COMPILED[key] = binary, log.getvalue()
    return _COMPILED[key]


def row(launch: Launch, architecture: int, labels: tuple[Any, ...]) -> dict[str, Any]:
    """One kernel in one shape on one architecture; ``labels``: kernels, basis, channels, precision."""
    kernel, arguments, options = launch
    binary, assembled = compiled(kernel, arguments, options, architecture)
    registers = int(re.findall(r"Used (\d+) registers", assembled)[0])
    spilled = sum(map(int, re.findall(r"(\d+) bytes spill", assembled)))
    ptx = binary.asm["ptx"]
    products = "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else "fma"
    values = (
        kernel.__name__.removesuffix("_kernel"), *labels, f"sm_{architecture}", binary.metadata.num_warps,
        registers, spilled, binary.metadata.shared, products,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def rows(
    all_channels: Sequence[int], precisions: Sequence[str], architectures: Sequence[int], hidden: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """The kernels of the convolution, one by one."""
    before = torch.get_float32_matmul_precision()
    for channels, precision, depthwise, basis in itertools.product(
        all_channels, precisions, (False, True), ("mlp_silu", "given")
    ):
        if depthwise and channels != 64:  # their tiles are the same for all of these
            continue
        torch.set_float32_matmul_precision(PRECISIONS[precision])
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        launches = convolution_launches(problem(channels, dtype, depthwise, basis, hidden))
        torch.set_float32_matmul_precision(before)
        labels = ("depth-wise" if depthwise else "full", basis, channels, precision)
        for launch, architecture in itertools.product(launches, architectures):
            yield row(launch, architecture, labels)


def convolution_launches(case: Any) -> list[Launch]:
    """What a forward pass, gradients of weights and, for given φ, of φ launch; full kernels in both orders."""
    from gridless.ops.convolution import triton

    with recorded() as launches:
        with mock.patch.object(triton, "transforms_first", return_value=False):
            triton.forward(case)
        wanted = {"weight", "basis.0"} if case.kernel.basis == "given" else {"weight"}
        triton.backward(case, torch.ones(len(case.features), case.weight.shape[-1]), wanted)
        if not case.depthwise:
            with mock.patch.object(triton, "transforms_first", return_value=True):
                triton.forward(case)
    return launches


def rows_of_points(
    dims: Sequence[int], neighbors: Sequence[int], architectures: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The kernels of search and of farthest points, one by one."""
    from gridless.neighbors import cells, triton_scan
    from gridless.subsample import triton_farthest

    for dim in dims:
        points = torch.rand(100, dim)
        table = cells.CellTable.of(points, None)
        for k in neighbors:
            with recorded() as launches:
                triton_scan.nearest(table, table.place(points, None), torch.zeros(100, dtype=torch.int64), k, None)
            for launch, architecture in itertools.product(launches, architectures):
                yield row(launch, architecture, (f"{k} nearest, {dim}-D", "", "", "float64"))
        with recorded() as launches:
            triton_farthest.farthest_points(points, None, [100], [10], 0)
        for launch, architecture in itertools.product(launches, architectures):
            yield row(launch, architecture, (f"{dim}-D", "", "", "float32"))


def section(table: Sequence[dict[str, Any]]) -> str:
    """The table in short: of each kernel the most that it takes with any number of channels."""
    kernels = list(dict.fromkeys(line["kernel"] for line in table))
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in table:
        kind = (line["kernels"], line["basis"], line["precision"], line["architecture"])
        kinds.setdefault(kind, []).append(line)
    header = ("kernels", "φ", "precision", "architecture", *kernels, "shared kB", "products")
    rows = [report.line(*header), report.rule(len(header))]
    for names, lines in kinds.items():
        of_kernels = [[line for line in lines if line["kernel"] == kernel] for kernel in kernels]
        registers = [str(max((int(line["registers"]) for line in found), default="")) for found in of_kernels]
        shared = max(int(line["shared bytes"]) for line in lines) // 1000
        products = "/".join(dict.fromkeys(line["products"] for line in lines))
        rows.append(report.line(*names, *registers, str(shared), products))
    spilled = sum(int(line["spilled bytes"]) for line in table)
    facts = f"{len(table)} kernels and shapes, {spilled} bytes spilled."
    return "\n\n".join([facts, "\n".join(rows)])


def write_section() -> None:
    """Put the summary of the table that there is into BENCHMARKS.md."""
    with RESULTS.open(newline="") as file:
        table = list(csv.DictReader(file))
    DOCUMENT.write_text(report.with_section(DOCUMENT.read_text("utf-8"), "registers", COMMAND, section(table)), "utf-8")


def main() -> int:
    """The command; 1 where a kernel spills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} and the section of {DOCUMENT.name}")
    parser.add_argument("--one", action="store_true", help="64 channels in bfloat16 for sm_90 only")
    parser.add_argument("--report-only", action="store_true", help="make the summary from the table that there is")
    parser.add_argument("--widest", action="store_true", help="with the widest kernel network instead of a layer's")
    options = parser.parse_args()
    if options.report_only:
        write_section()
        return 0
    hidden = WIDEST_HIDDEN if options.widest else LAYER_HIDDEN
    if options.one:
        found = [rows((64,), ("bfloat16",), (90,), hidden), rows_of_points((3,), (16,), (90,))]
    else:
        found = [rows(CHANNELS, tuple(PRECISIONS), ARCHITECTURES, hidden)]
        found.append(rows_of_points((2, 3, 4), NEIGHBORS, ARCHITECTURES))
    table = []
    for line in itertools.chain(*found):
        print("  ".join(f"{value!s:>{max(len(name), 9)}}" for name, value in line.items()), flush=True)
        table.append(line)
    if options.write:
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        write_section()
    return 1 if any(line["spilled bytes"] for line in table) else 0


if __name__ == "__main__":
    sys.exit(main())
