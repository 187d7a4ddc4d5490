"""The compiled kernels: whether they are there, what they run on, and how they are given tensors."""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType
from typing import Any

import torch  # before the kernels are loaded, so that its OpenMP threads are there to be shared
from torch import Tensor
from torch.utils.dlpack import to_dlpack

from gridless.errors import UnsupportedError

#: Set to one of ``extension().instruction_sets()`` to run slower kernels than the machine could, for comparison.
INSTRUCTION_SET_VARIABLE = "GRIDLESS_INSTRUCTION_SET"


def extension() -> ModuleType:
    """The compiled module, on the threads of torch.

    Raises:
        UnsupportedError: it was not built, or does not load.
    """
    module, reason = _load()
    if module is None:
        raise UnsupportedError(reason)
    return module


def why_unavailable() -> str:
    """Why there are no compiled kernels; "" where there are."""
    return _load()[1]


def runs_on(values: Tensor) -> bool:
    """Whether the compiled kernels can take these values."""
    return values.device.type == "cpu" and not why_unavailable()


def handed(tensor: Tensor | None) -> Any:
    """A tensor as the kernels take it, several times as fast as if they were given the tensor; None stays."""
    return None if tensor is None else to_dlpack(tensor)


def choose(function: str, impl: str, *others: str) -> str:
    """The implementation that ``impl`` asks for: for "auto" "native" where it can run, else the first of the others.

    Raises:
        ValueError: ``function`` has no such implementation.
        UnsupportedError: impl is "native" and there are no compiled kernels.
    """
    names = ("auto", "native", *others)
    if impl not in names:
        raise ValueError(f"{function}: impl must be one of {', '.join(names)}, got {impl!r}")
    if impl in others:
        return impl
    reason = why_unavailable()
    if reason and impl == "native":
        raise UnsupportedError(f"{function}: impl='native' cannot run here: {reason}; use impl='auto'")
    return others[0] if reason else "native"


def readable_positions(positions: Tensor) -> Tensor:
    """What the kernels take: [N, D], side by side in float32 or float64."""
    return positions.to(torch.promote_types(positions.dtype, torch.float32)).resolve_neg().contiguous()


@cache
def instruction_set() -> str:
    """The instruction set that kernels run with: the best that this machine has, or what the environment asks for.

    Raises:
        UnsupportedError: there are no compiled kernels, or the machine cannot run what the environment asks for.
    """
    usable: list[str] = extension().instruction_sets()
    wanted = os.environ.get(INSTRUCTION_SET_VARIABLE) or usable[-1]
    if wanted not in usable:
        raise UnsupportedError(
            f"{INSTRUCTION_SET_VARIABLE}={wanted}: this machine can run {', '.join(usable)}; unset the variable"
        )
    return wanted


@cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        module = importlib.import_module("gridless._native")
    except ImportError as error:
        return None, f"the compiled kernels are missing ({error}); install a C++ compiler, then gridless again"
    module.borrow_openmp_threads(os.path.dirname(torch.__file__))
    return module, ""
