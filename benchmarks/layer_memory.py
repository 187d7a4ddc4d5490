"""Peak memory of one pass of one layer, each contender in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.contenders import UnavailableError, contender_names, require_memory
from benchmarks.layer_time import empty_row
from benchmarks.rows import Row
from benchmarks.suite import MemoryCase, Pass, Sizes

_ROOT = Path(__file__).parents[1]
_LIMIT_SECONDS = 240


def measure_memory(name: str, case: MemoryCase) -> list[Row]:
    """A row for each pass and contender."""
    return [
        probe_memory(empty_row(name, case.sizes, passes, contender), case.sizes, passes)
        for passes in case.passes
        for contender in contender_names(case.against)
    ]


def probe_memory(row: Row, sizes: Sizes, passes: Pass) -> Row:
    """The row with its contender's peak memory, or with the reason why there is none."""
    command = [sys.executable, "-m", "benchmarks.memory_probe", json.dumps(asdict(sizes)), passes, row.contender]
    try:
        require_memory(row.contender, sizes, passes)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT, timeout=_LIMIT_SECONDS)
    except UnavailableError as reason:
        return replace(row, note=str(reason))
    except subprocess.TimeoutExpired:
        return replace(row, note=f"more than {_LIMIT_SECONDS} s")
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with status {done.returncode}"]
        return replace(row, note=last[0])
    return replace(row, **json.loads(done.stdout.splitlines()[-1]))
