"""Print the peak memory of one pass as JSON. Run as a program of its own: a process's heap remembers what it held.

Linux only: peaks are read from /proc, since getrusage's would start from that of the parent process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.contenders import UnavailableError, prepare
from benchmarks.problem import make_problem
from benchmarks.suite import Pass, Sizes
from gridless.data import settings_from_plain
from gridless.prediction.memory import give_back_freed

_WARM_UP_POINTS = 256


def probe(sizes: Sizes, passes: Pass, name: str) -> dict[str, float | str]:
    """Peak of the second pass of the process, the first being a small one that loads what every pass needs."""
    small = Sizes(_WARM_UP_POINTS, sizes.neighbors, sizes.in_channels, sizes.out_channels, sizes.hidden)
    problem = make_problem(sizes)
    try:
        prepare(name, make_problem(small), passes).run(passes)
        contender = prepare(name, problem, passes)
    except UnavailableError as reason:
        return {"note": str(reason)}
    start = resident_from_now_on()
    results = contender.run(passes)
    peak = resident_megabytes("VmHWM")
    given = sum(value.nbytes for value in results.values()) / 2**20
    return {"peak_megabytes": peak - start - given, "process_megabytes": peak}


def resident_from_now_on() -> float:
    """Megabytes of the process, where its peak (VmHWM) begins again."""
    # What building the inputs has left in the heap would otherwise be used again, unseen.
    give_back_freed()
    Path("/proc/self/clear_refs").write_text("5")
    return resident_megabytes("VmRSS")


def resident_megabytes(key: str) -> float:
    """VmRSS (now) or VmHWM (peak)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    sizes, passes, name = sys.argv[1:]
    print(json.dumps(probe(settings_from_plain(Sizes, json.loads(sizes)), passes, name)))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
