"""Damaged files of every format: a ReadError or a readable file, never a crash, a hang or a huge allocation."""

import signal
import struct
import subprocess
import sys
import tracemalloc

import pytest

import gridless.io as gio
from gridless.cloud import PointCloud
from gridless.errors import ReadError
from tests.io.fuzz import READERS, mutate, original, outcome

VARIANTS = {
    "las": ("a.las", {}),
    "laz": ("a.laz", {}),
    "ply": ("a.ply", {}),
    "ply_ascii": ("a.ply", {"ascii": True}),
    "pcd": ("a.pcd", {}),
    "pcd_ascii": ("a.pcd", {"data": "ascii"}),
    "pcd_compressed": ("a.pcd", {"data": "binary_compressed"}),
    "bin": ("a.bin", {}),
    "npz": ("a.npz", {}),
    "npz_stored": ("a.npz", {"compressed": False}),
    "csv": ("a.csv", {}),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(tmp_path, name, monkeypatch):
    monkeypatch.delenv("GRIDLESS_DATA", raising=False)
    reader = READERS[name]
    path = original(reader, tmp_path, num_points=40)
    good = path.read_bytes()
    outcome(reader, path)  # imports what it needs, which is not to be counted
    outcomes = []
    tracemalloc.start()
    for seed in range(30 if name == "recipe" else 100):
        path.write_bytes(mutate(good, seed))
        outcomes.append(outcome(reader, path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64e6
    assert set(outcomes) <= {"read", "refused"}, next(o for o in outcomes if o not in ("read", "refused"))
    assert "refused" in outcomes


def laz_with(tmp_path, cloud, position_of, form, value):
    """A LAZ file with one number changed: in its record, at its points, or in its table of chunks."""
    path = tmp_path / "a.laz"
    gio.write(path, cloud)
    data = bytearray(path.read_bytes())
    points_at = struct.unpack_from("<I", data, 96)[0]
    table_at = struct.unpack_from("<q", data, points_at)[0]
    record_at = data.index(b"laszip encoded") - 2 + 54
    place = {"points": points_at, "table": table_at, "record": record_at}[position_of[0]]
    struct.pack_into(form, data, place + position_of[1], value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("position_of", "form", "value", "message"),
    [
        (("points", 0), "<q", 10**15, "promises a table of chunks at byte 1000000000000000"),
        (("table", 4), "<I", 2**31, "promises 2147483648 chunks of points"),
        (("table", 4), "<I", 0, "promises 40 points, but chunks of 0 in all"),
        (("record", 12), "<I", 2**31, "promises chunks of 2147483648 points, but 40 points in all"),
        (("points", 8 + 46 + 4), "<I", 3 * 10**9, r"promises layers of 30\d* bytes"),  # 46 bytes: format 6 and the rest
    ],
)
def test_laz_that_promises_more_than_it_holds(tmp_path, cloud, position_of, form, value, message):
    """The decoder would allocate for it: for a number of chunks until the process is aborted."""
    path = laz_with(tmp_path, cloud, position_of, form, value)
    with pytest.raises(ReadError, match=message):
        gio.read(path)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"csv"}))  # text between two lines may end anywhere
def test_cut_short(tmp_path, cloud, variant):
    name, options = VARIANTS[variant]
    path = tmp_path / name
    gio.write(path, PointCloud(cloud.local_positions(), cloud.columns), **options)  # a KITTI scan holds float32
    good = path.read_bytes()
    for kept in (len(good) // 2 + 1, 30, 5):
        path.write_bytes(good[:kept])
        with pytest.raises(ReadError, match=r"a\."):
            gio.read(path)


@pytest.mark.parametrize("suffix", sorted(set(gio.SUFFIXES) - {".bin"}))
def test_empty_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"")
    with pytest.raises(ReadError, match=r"empty|not a|cut short"):
        gio.read(path)
    path.write_bytes(bytes(range(256)) * 3)
    with pytest.raises(ReadError):
        gio.read(path)


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.las"):
        gio.read(tmp_path / "nothing.las")
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(ReadError, match="is a folder"):
        gio.read(tmp_path / "folder.ply")
    with pytest.raises(ValueError, match=r"unknown suffix '.obj'; known are .las"):
        gio.read(tmp_path / "a.obj")


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_replaced_when_complete(tmp_path, kind):
    target = tmp_path / "a.json"
    target.write_text("old")

    def fail_half_way():
        with gio.replaced_when_complete(target) as temporary:
            assert temporary.suffix == ".json"
            temporary.write_text("new")
            raise kind

    with pytest.raises(kind):
        fail_half_way()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(FileNotFoundError, match="does not exist"), gio.replaced_when_complete(tmp_path / "no" / "a"):
        pass


def test_leftovers_of_killed_writes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    code = """
import os, signal, sys
from gridless.io import replaced_when_complete
with replaced_when_complete(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "a.ckpt").write_text("old")
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.ckpt")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    others = [tmp_path / ".mine.ckpt", tmp_path / f".a-00000000-{2**22}-abcdefgh.ckpt"]  # one of another machine
    for file in others:
        file.touch()
    with gio.replaced_when_complete(tmp_path / "b.ckpt") as temporary:
        gio.remove_leftovers(tmp_path)
        assert set(tmp_path.iterdir()) == {tmp_path / "a.ckpt", temporary, *others}
    gio.remove_leftovers(tmp_path / "no such folder")
    assert (tmp_path / "a.ckpt").read_text() == "old"


def test_import_is_light():
    code = "import sys, gridless.io; print([m for m in ('laspy', 'plyfile', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
