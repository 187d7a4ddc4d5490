"""Where and with what a measurement was made."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.rows import Row


def with_facts(row: Row, command: str) -> Row:
    """The row with date, machine, versions and the command that repeats it."""
    return replace(
        row,
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        machine=machine(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        command=command,
    )


def machine() -> str:
    """Processor, cores, instruction set, memory, Python."""
    facts = [_processor(), f"{os.cpu_count()} cores", torch.backends.cpu.get_cpu_capability()]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not every system tells
        facts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    return ", ".join([*facts, f"Python {platform.python_version()}"])


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
