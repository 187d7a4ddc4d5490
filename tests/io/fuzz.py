"""Readers on files with damage: what one may do is return or raise its own error, soon and in little memory.

    python -m tests.io.fuzz [READER ...] --minutes 10 --findings FOLDER

Starts from a slice of a real file in GRIDLESS_DATA where it is, else from points made here. Files are read in another
process, which is watched: that it dies, takes longer than ten seconds or more memory than a multiple of the file's size
is a finding, as is any other error than those a reader promises. Of each kind of finding the first file is kept in the
folder, named by the seed that makes it again; a run with the same seeds tries the same cases.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import gridless as gl
import gridless.io as gio
from gridless.errors import ReadError, RecipeError

SECONDS = 10.0
BYTES = 64_000_000
BYTES_PER_BYTE = 64  # of the file; what a reader may take grows with what it was given
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]
WORDS = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"1e308",
    b"\0",
    b"\n",
    b" ",
    b",",
    b"\xff\xfe",
    b"'",
    b"[",
]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How to make good files of one kind, and how to read one."""

    suffix: str
    make: Callable[[Path, gl.PointCloud], object]
    read: Callable[[Path], object] = gio.read
    errors: tuple[type[Exception], ...] = (ReadError,)


def _in_format(suffix: str, **options: Any) -> Reader:
    return Reader(suffix, lambda path, cloud: gio.write(path, cloud, **options))


def _read_beside(path: Path) -> object:
    """A scan whose labels were damaged."""
    return gio.read(_scan_of(path))


def _scan_of(labels: Path) -> Path:
    scan = labels.with_suffix(".bin")
    if not scan.exists():
        shutil.copy(labels.with_name("original.bin"), scan)
    return scan


def _write_scan(path: Path, cloud: gl.PointCloud) -> None:
    gio.write(path, gl.PointCloud(cloud.local_positions(), cloud.columns))


def _write_labels(path: Path, cloud: gl.PointCloud) -> None:
    labels = cloud["classification"].astype(np.uint16)
    _write_scan(path.with_suffix(".bin"), cloud.with_columns(label=labels))


def _write_mesh(path: Path, cloud: gl.PointCloud) -> None:
    rows = [" ".join(f"{value:g}" for value in point) for point in cloud.positions]
    faces = [f"3 {i} {i + 1} {i + 2}" for i in range(len(cloud) - 2)]
    path.write_text("\n".join(["OFF", f"{len(rows)} {len(faces)} 0", *rows, *faces, ""]))


def _read_mesh(path: Path) -> object:
    from gridless.data.published import ModelNet40

    file = path.parent / "chair" / "train" / "chair_0001.off"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(path.read_bytes())
    return ModelNet40(path.parent, num_points=64, num_classes=1).read(file)


def _write_room(path: Path, cloud: gl.PointCloud) -> None:
    np.savetxt(path, np.column_stack([cloud.positions, np.arange(3 * len(cloud)).reshape(-1, 3) % 256]), "%.3f")


def _read_room(path: Path) -> object:
    from gridless.data.published import S3DIS

    room = path.parent / "room" / "Annotations"
    room.mkdir(parents=True, exist_ok=True)
    (room / "wall_1.txt").write_bytes(path.read_bytes())
    return S3DIS(path.parent).read(room.parent)


def _write_model(path: Path, cloud: gl.PointCloud) -> None:
    gl.save_model(path, gl.build_model("pccn_unet", in_channels=1, num_classes=2, channels=(4, 8), blocks=(1, 1)))


def _write_recipe(path: Path, cloud: gl.PointCloud) -> None:
    path.write_bytes((Path(__file__).parents[2] / "recipes" / "aerial_lidar.yaml").read_bytes())


def _read_recipe(path: Path) -> object:
    from gridless.training.recipe import load_recipe

    return load_recipe(path)


READERS = {
    "las": _in_format(".las"),
    "laz": _in_format(".laz"),
    "ply": _in_format(".ply"),
    "ply ascii": _in_format(".ply", ascii=True),
    "pcd": _in_format(".pcd"),
    "pcd ascii": _in_format(".pcd", data="ascii"),
    "pcd compressed": _in_format(".pcd", data="binary_compressed"),
    "bin": Reader(".bin", _write_scan),
    "label": Reader(".label", _write_labels, _read_beside),
    "npz": _in_format(".npz"),
    "npz stored": _in_format(".npz", compressed=False),
    "csv": _in_format(".csv"),
    "off": Reader(".off", _write_mesh, _read_mesh),
    "room": Reader(".txt", _write_room, _read_room),
    "model": Reader(".safetensors", _write_model, gl.load_model),
    "recipe": Reader(".yaml", _write_recipe, _read_recipe, (RecipeError, FileNotFoundError)),
}


def mutate(good: bytes, seed: int) -> bytes:
    """One to six changes: bits, extreme integers, words, pieces left out, doubled or cut off; headers most."""
    rng = np.random.default_rng(seed)
    data = bytearray(good)
    for _ in range(rng.integers(1, 7)):
        reach = min(len(data), int(rng.choice([64, 512, len(data) + 1])))
        at = int(rng.integers(0, reach + 1))
        if rng.random() < 0.1:  # trailers: directories of archives, tables of chunks
            at = len(data) - at
        kind = rng.integers(0, 7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.integers(8)
        elif kind == 1:
            width = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice(np.array(EXTREMES, dtype=object))) % (1 << 8 * width)
            data[at : at + width] = value.to_bytes(width, "little")
        elif kind == 2:
            numbers = [match.span() for match in re.finditer(rb"[-+.\d]+", data[:4096])]
            first, last = numbers[rng.integers(len(numbers))] if numbers else (at, at)
            data[first:last] = WORDS[rng.integers(len(WORDS))]
        elif kind == 3:
            data[at : at + int(rng.integers(1, 40))] = b""
        elif kind == 4:
            data[at:at] = data[at : at + int(rng.integers(1, 400))]
        elif kind == 5 and rng.random() < 0.3:
            del data[at:]
        else:
            data[at : at + 4] = rng.bytes(4)
    return bytes(data)


def original(reader: Reader, folder: Path, num_points: int = 300) -> Path:
    """A good file for a reader, of real points where they are at hand."""
    real = Path(os.environ.get("GRIDLESS_DATA", "nowhere"), "ign_lidarhd_dense", "77050_627760.laz")
    if real.exists():
        cloud = gio.read(real)[:num_points]
    else:
        rng = np.random.default_rng(0)
        cloud = gl.PointCloud(
            rng.uniform(0, 50, (num_points, 3)).round(3) + np.array([639_000.0, 6_851_000.0, 12.0]),
            {
                "intensity": rng.integers(0, 65_536, num_points).astype(np.uint16),
                "classification": rng.integers(0, 20, num_points).astype(np.uint8),
                "height": rng.normal(size=num_points).astype(np.float32),
            },
        )
    path = folder / f"original{reader.suffix}"
    reader.make(path, cloud)
    return path


def outcome(reader: Reader, path: Path) -> str:
    """ "read", "refused", or the traceback of an error that no reader promises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except reader.errors:
        return "refused"
    except Exception:
        return traceback.format_exc()
    return "read"


def _peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def _serve(name: str, good: Path, requests: Connection) -> None:
    """Read every file that is asked for; answers with what came of it and the memory it took."""
    reader = READERS[name]
    requests.send(outcome(reader, good))  # by now all is imported
    while path := requests.recv():
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _peak_memory()
        result = outcome(reader, path)
        requests.send((result, _peak_memory() - before))


class _Watched:
    """A process that reads files, ended when it takes too long and begun anew when it is gone."""

    def __init__(self, name: str, good: Path) -> None:
        self.name, self.good = name, good
        self.process: Any = None

    def read(self, path: Path) -> tuple[str, int]:
        if self.process is None:
            self.pipe, theirs = multiprocessing.Pipe()
            arguments = (self.name, self.good, theirs)
            self.process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)
            self.process.start()
            theirs.close()
            if (result := self.pipe.recv()) != "read":
                raise RuntimeError(f"{self.name}: the undamaged file is not read: {result}")
        self.pipe.send(path)
        try:
            if self.pipe.poll(SECONDS):
                answer: tuple[str, int] = self.pipe.recv()
                return answer
            problem = f"took longer than {SECONDS:g} s"
        except EOFError:
            self.process.join()
            problem = f"the process died with {self.process.exitcode}"
        self.close()
        return problem, 0

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def fuzz(name: str, seconds: float, first_seed: int, findings: Path) -> dict[str, Any]:
    """Try damaged files until the time is over; returns the counts, and what was found with one file of each kind."""
    reader, counts, found = READERS[name], Counter[str](), dict[str, int]()
    largest, seed, until = 0, first_seed, time.monotonic() + seconds
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(_Watched(name, original(reader, Path(folder)))) as worker,
    ):
        good = worker.good.read_bytes()
        path = worker.good.with_name(f"damaged{reader.suffix}")
        while time.monotonic() < until:
            bad = mutate(good, seed)
            path.write_bytes(bad)
            result, memory = worker.read(path)
            largest = max(largest, memory)
            if result in ("read", "refused") and memory > BYTES + BYTES_PER_BYTE * len(bad):
                result = "took too much memory"
            counts[result if result in ("read", "refused") else "finding"] += 1
            if result not in ("read", "refused"):
                kind = "\n".join(result.strip().splitlines()[-3:])  # where, and which error
                if kind not in found:
                    found[kind] = seed
                    findings.mkdir(parents=True, exist_ok=True)
                    (findings / f"{name.replace(' ', '_')}_{seed}{reader.suffix}").write_bytes(bad)
                    print(f"{name}, seed {seed}: {result}", flush=True)
            seed += 1
    return {"reader": name, **counts, "most memory in MB": round(largest / 1e6, 1), "first seed": first_seed, **found}


def main() -> int:
    """Fuzz the readers that were named, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.io.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("readers", nargs="*", default=list(READERS), metavar="READER", help=", ".join(READERS))
    parser.add_argument("--minutes", type=float, default=10.0, help="for each reader")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings"))
    options = parser.parse_args()
    results = []
    for name in options.readers:
        results.append(fuzz(name, 60 * options.minutes, options.seed, options.findings))
        print(json.dumps(results[-1]), flush=True)
    return int(any(result.get("finding") for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
