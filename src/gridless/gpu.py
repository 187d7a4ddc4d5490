"""Triton's kernels: whether they can run, and on what."""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import torch

_INTERPRET = "TRITON_INTERPRET"
# The oldest GPUs that the kernels are compiled for in tests.
_OLDEST_CAPABILITY = (8, 0)


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether the kernels run on the CPU, in Triton's interpreter."""
    return os.environ.get(_INTERPRET) == "1"


def why_unavailable() -> str:
    """Why no kernel can run on this machine; "" where one can."""
    if not _installed():
        return "Triton is not installed: pip install 'gridless[gpu]'"
    if torch.cuda.is_available() or interpreted():
        return ""
    return f"no GPU is at hand ({_INTERPRET}=1, set before the start, runs the kernels on the CPU, for tests)"


def why_not_on(device: torch.device) -> str:
    """Why the kernels cannot run on tensors of this device; "" where they can."""
    if reason := why_unavailable():
        return reason
    if device.type == "cpu" and interpreted():
        return ""
    if device.type != "cuda" or torch.version.hip:
        return f"the kernels run on NVIDIA's GPUs, the tensors are on {device}"
    if torch.cuda.get_device_capability(device) < _OLDEST_CAPABILITY:
        return f"the kernels need compute capability {_OLDEST_CAPABILITY[0]}.{_OLDEST_CAPABILITY[1]} or newer"
    return ""
