"""Every contender by its name: the library's implementations and the rivals."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Protocol, cast

import torch

from benchmarks.contender import Contender
from benchmarks.problem import Problem
from benchmarks.rivals import chunked, nnconv, open3d, plain
from benchmarks.suite import Pass, Sizes
from gridless.ops.convolution import available_implementations

OURS = "auto"
_ALL_IMPLEMENTATIONS = "implementations"
#: The definition is for comparison, not for use: it would only measure how long building kernels takes.
_NOT_RACED = ("reference", OURS)
_CPU = torch.device("cpu")


class Rival(Protocol):
    """What a file in ``rivals/`` holds."""

    LABEL: str

    def prepare(self, problem: Problem) -> Contender:
        """The rival on this problem; ImportError, OSError or RuntimeError where it cannot run here."""

    def expected_bytes(self, sizes: Sizes, passes: Pass) -> float:
        """About what one pass allocates."""


_MODULES: dict[str, ModuleType] = {"plain": plain, "chunked": chunked, "nnconv": nnconv, "open3d": open3d}
RIVALS = {name: cast(Rival, module) for name, module in _MODULES.items()}


class UnavailableError(Exception):
    """A contender cannot run here or on these sizes; the message is the reason."""


def contender_names(against: tuple[str, ...]) -> list[str]:
    """The library first, then those it is measured against, "implementations" written out."""
    names = [OURS]
    for name in against:
        if name == _ALL_IMPLEMENTATIONS:
            names += [
                implementation for implementation in available_implementations() if implementation not in _NOT_RACED
            ]
        elif name in RIVALS:
            names.append(name)
        else:
            raise ValueError(f"no contender {name!r}; known: {_ALL_IMPLEMENTATIONS}, {', '.join(RIVALS)}")
    return names


def label(name: str) -> str:
    """What the report calls a contender."""
    if name == OURS:
        return "gridless"
    return RIVALS[name].LABEL if name in RIVALS else f'gridless, impl="{name}"'


def prepare(name: str, problem: Problem, passes: Pass) -> Contender:
    """The contender on this problem.

    Raises:
        UnavailableError: it cannot run on this machine, or would not fit into its memory.
    """
    if name not in RIVALS:
        if reason := available_implementations().get(name, ""):
            raise UnavailableError(reason)
        return _implementation(name, problem)
    require_memory(name, problem.sizes, passes, problem.features.device)
    try:
        return RIVALS[name].prepare(problem)
    except (ImportError, OSError, RuntimeError) as error:
        raise UnavailableError(f"{type(error).__name__}: {error}") from error


def require_memory(name: str, sizes: Sizes, passes: Pass, device: torch.device = _CPU) -> None:
    """Raise UnavailableError for a rival that needs more than two thirds of the free memory: others share it."""
    if name not in RIVALS:
        return
    needed = RIVALS[name].expected_bytes(sizes, passes)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_bytes()
    if needed > free * 2 / 3:
        raise UnavailableError(f"needs about {needed / 2**30:.0f} GiB of {free / 2**30:.0f} GiB that are free")


def _implementation(name: str, problem: Problem) -> Contender:
    layer = copy.copy(problem.layer)  # shares the parameters
    layer.impl = name

    def forward() -> torch.Tensor:
        return layer(problem.features, problem.positions, problem.positions, problem.neighborhoods)

    return Contender(forward, problem.inputs, problem.grad_out)


def _free_bytes() -> float:
    """Memory that can be had without swapping; unlimited where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return float("inf")
    return 1024.0 * int(lines["MemAvailable"].split()[0])
