"""gridless doctor: what this machine can run, and why not."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

_CORE_PACKAGES = ("torch", "numpy", "scipy", "laspy", "lazrs", "lightning")
_ALWAYS_USABLE = ("reference", "blocked")
_LEAST_FREE_GIB = 1.0


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis."""

    name: str
    state: Literal["ok", "warning", "failed"]
    detail: str


def doctor() -> int:
    """Print what this machine can run and why not: packages, cores, memory, implementations, files.

    Returns:
        0 when everything the package needs works (warnings included), 1 when a core check failed.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    checks = list(_all_checks())
    table = Table("check", "state", "detail", box=None, pad_edge=False)
    colors = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    for check in checks:
        table.add_row(check.name, Text(check.state, style=colors[check.state]), Text(check.detail))
    console = Console()
    console.print(table)
    failed = [check.name for check in checks if check.state == "failed"]
    console.print(Text(f"failed: {', '.join(failed)}" if failed else "everything needed works on this machine"))
    return 1 if failed else 0


def _all_checks() -> Iterator[Check]:
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _packages, _cores, _memory, _compiled_kernels, _gpus, _implementations, _laz_codec, _temporary_folder,
    )  # fmt: skip
    for part in parts:
        try:
            yield from part()
        except Exception as error:  # a diagnosis must survive what it diagnoses, and show the rest
            yield Check(part.__name__.strip("_").replace("_", " "), "failed", f"{type(error).__name__}: {error}")


def _packages() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    for name in _CORE_PACKAGES:
        try:
            if name != "lightning":  # slow to import; that it is installed is enough here
                importlib.import_module(name)
            yield Check(name, "ok", importlib.metadata.version(name))
        except Exception as error:
            yield Check(name, "failed", f"{type(error).__name__}: {error}; reinstall with: pip install gridless")


def _cores() -> Iterator[Check]:
    import torch

    cores, threads = _usable_cores(), torch.get_num_threads()
    detail = f"{cores} usable cores, torch uses {threads} threads"
    if threads > cores:
        yield Check(
            "cores", "warning", f"{detail}; more threads than cores slow each other: set OMP_NUM_THREADS={cores}"
        )
    else:
        yield Check("cores", "ok", detail)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Iterator[Check]:
    try:
        total, free = (
            os.sysconf("SC_PAGE_SIZE") * os.sysconf(key) / 2**30 for key in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
        )
    except (AttributeError, ValueError, OSError):
        yield Check("memory", "warning", "this system does not tell its memory")
        return
    low = free < _LEAST_FREE_GIB
    yield Check(
        "memory", "warning" if low else "ok", f"{total:.1f} GiB, of which {free:.1f} GiB free (caches not counted)"
    )


def _gpus() -> Iterator[Check]:
    import torch

    from gridless import gpu

    if not torch.cuda.is_available():
        reason = "no GPU is visible to it" if torch.version.cuda else "it is built without CUDA"
        yield Check("GPU", "ok", f"torch {torch.__version__} uses none: {reason}; everything runs on the CPU")
        return
    fast = 'searches with "grid", takes farthest points with "triton"'
    slower = "without kernels for search and farthest points"
    for place in range(torch.cuda.device_count()):
        device = torch.device("cuda", place)
        facts = torch.cuda.get_device_properties(device)
        detail = f"{facts.name}, compute capability {facts.major}.{facts.minor}, {facts.total_memory / 2**30:.0f} GiB; "
        if reason := gpu.why_not_on(device):
            yield Check(str(device), "warning", f'{detail}"auto" convolves with "blocked", {slower}: {reason}')
        else:
            yield Check(str(device), "ok", f'{detail}"auto" convolves with "triton", {fast}')


def _implementations() -> Iterator[Check]:
    api = importlib.import_module("gridless.ops.convolution.api")
    for name, reason in api.available_implementations().items():
        state: Literal["warning", "failed"] = "failed" if name in _ALWAYS_USABLE else "warning"
        label = f'continuous_conv impl="{name}"'
        yield Check(label, state, reason) if reason else Check(label, "ok", "can run here")


def _compiled_kernels() -> Iterator[Check]:
    from gridless import native

    reason = native.why_unavailable()
    if reason:
        yield Check("compiled kernels", "warning", f"{reason}; everything works without them, several times slower")
        return
    usable, threads = native.extension().instruction_sets(), native.extension().openmp_runtime()
    shared = f"on torch's threads ({os.path.basename(threads)})" if threads else "on threads of their own"
    detail = f"{native.instruction_set()} (this machine can run {', '.join(usable)}), {shared}"
    yield Check("compiled kernels", "ok", detail)


def _laz_codec() -> Iterator[Check]:
    import laspy
    import numpy as np

    points = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    points.x = np.arange(100) / 100
    points.y = points.z = np.zeros(100)
    buffer = io.BytesIO()
    points.write(buffer, do_compress=True)
    restored = laspy.read(io.BytesIO(buffer.getvalue()))
    if np.array_equal(restored.X, points.X):
        yield Check("LAZ codec", "ok", "100 points compressed and read back")
    else:
        yield Check("LAZ codec", "failed", "points read back differ from those written; reinstall laspy[lazrs]")


def _temporary_folder() -> Iterator[Check]:
    with tempfile.TemporaryFile() as file:
        file.write(b"gridless")
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 2**30
    detail = f"{folder} is writable, {free:.1f} GiB free"
    yield Check("temporary folder", "warning" if free < _LEAST_FREE_GIB else "ok", detail)
