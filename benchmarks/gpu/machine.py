"""The device of a run, and what it does at best: the floors of the layers' times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from benchmarks.gpu.cases import Precision
from benchmarks.suite import Pass, Sizes
from benchmarks.timing import medians_in_turn

_COPIED_NUMBERS, _GEMM_SIZE = 1 << 27, 4096


@dataclass
class Machine:
    """The device of a run, and what it does at best.

    Args:
        device: where everything lies.
        numbers: float32 numbers of the copy.
        size: of the product's matrices.
    """

    device: torch.device
    numbers: int = _COPIED_NUMBERS
    size: int = _GEMM_SIZE
    _rates: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the report calls it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, run: Callable[[], object], repeats: int = 10, seconds: float = 5.0) -> float:
        """Milliseconds of a run that is warm."""
        return medians_in_turn({"": run}, repeats, seconds, self.wait)[""]

    def floor(self, sizes: Sizes, passes: Pass, precision: Precision) -> float:
        """Milliseconds below which no implementation can be."""
        moved = least_bytes(sizes, passes, 2 if precision == "bfloat16" else 4) / self._rate("copy", self._copy)
        with matmul_precision(precision):
            multiplied = sizes.useful_flops(passes) / self._rate(precision, lambda: self._gemm(precision))
        return 1e3 * max(moved, multiplied)

    def _rate(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self._rates:
            self._rates[name] = measure()
        return self._rates[name]

    def _copy(self) -> float:
        """Bytes a second, read and written."""
        source = torch.zeros(self.numbers, device=self.device)
        target = torch.empty_like(source)
        return 2 * 4 * self.numbers / (1e-3 * self.median(lambda: target.copy_(source)))

    def _gemm(self, precision: Precision) -> float:
        """FLOPs a second."""
        left, right = torch.randn(2, self.size, self.size, device=self.device, dtype=dtype_of(precision))
        return 2 * self.size**3 / (1e-3 * self.median(lambda: left @ right))


def dtype_of(precision: Precision) -> torch.dtype:
    """Of features and weights."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@contextlib.contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Products of float32 in TF32 where that is asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def least_bytes(sizes: Sizes, passes: Pass, width: int) -> float:
    """Features, positions, rows, weights and output once; for a backward pass all again, and the gradients."""
    features, out = sizes.points * sizes.in_channels * width, sizes.points * sizes.out_channels * width
    rows = 8 * (sizes.pairs + sizes.points) + 4 * 3 * sizes.points
    weights = sizes.kernel_width * sizes.in_channels * sizes.out_channels * width
    once = features + out + rows + weights
    return once if passes == "forward" else 2 * once + features + weights
