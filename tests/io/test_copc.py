"""Cloud-optimized LAZ (COPC): chunks of unequal size, an index of nodes, points in the order of the nodes."""

import struct

import laspy
import lazrs
import numpy as np
import pytest

import gridless.io as gio
from gridless.cli.main import main

NUM_POINTS, IN_ROOT = 3000, 1000


def cloud_optimized(path):
    """A COPC file with a root node and one child, and the points that are in it."""
    rng = np.random.default_rng(0)
    header = laspy.LasHeader(version="1.4", point_format=6)
    header.scales, header.offsets = [0.01] * 3, [600_000, 6_800_000, 0]
    las = laspy.LasData(header)
    las.x, las.y, las.z = (rng.uniform(0, 100, (NUM_POINTS, 3)) + header.offsets).T
    las.classification = rng.integers(2, 7, NUM_POINTS).astype(np.uint8)
    las.update_header()
    compression = lazrs.LazVlr.new_for_compression(6, 0, True)
    header.vlrs.append(laspy.VLR("copc", 1, "copc info", bytes(160)))
    header.vlrs.append(laspy.VLR("laszip encoded", 22204, "", compression.record_data()))
    header.are_points_compressed = True
    with open(path, "w+b") as file:
        header.write_to(file)
        points_at = file.tell()
        size = las.points.array.itemsize
        packed = np.frombuffer(las.points.array.tobytes(), np.uint8)
        compressor = lazrs.LasZipCompressor(file, compression)
        compressor.compress_many(packed[: IN_ROOT * size])
        compressor.finish_current_chunk()
        end_of_root = file.tell()
        compressor.compress_many(packed[IN_ROOT * size :])
        compressor.done()
        file.seek(points_at)
        (end,) = struct.unpack("<Q", file.read(8))  # the table of chunks
        file.seek(0, 2)
        entries = [(0, 0, 0, 0, points_at + 8, end_of_root - points_at - 8, IN_ROOT)]
        entries.append((1, 0, 0, 0, end_of_root, end - end_of_root, NUM_POINTS - IN_ROOT))
        hierarchy = b"".join(struct.pack("<4iQ2i", *entry) for entry in entries)
        place = file.tell()
        file.write(struct.pack("<H16sHQ32s", 0, b"copc", 1000, len(hierarchy), b"hierarchy") + hierarchy)
        # Where the index begins, in the header and in the first VLR.
        file.seek(235)
        file.write(struct.pack("<QI", place, 1))
        file.seek(375 + 54)
        file.write(struct.pack("<5d2Q", 600_050, 6_800_050, 50, 50, 1.0, place + 60, len(hierarchy)))
    return np.column_stack([las.x, las.y, las.z]), np.array(las.classification)


@pytest.fixture
def copc(tmp_path):
    path = tmp_path / "nodes.copc.laz"
    return path, *cloud_optimized(path)


def test_the_file_is_what_others_take_for_cloud_optimized(copc):
    path, positions, _ = copc
    with laspy.CopcReader.open(path) as reader:
        found = reader.query()
    found = np.column_stack([found.x, found.y, found.z])
    assert np.allclose(np.sort(found, axis=0), np.sort(positions, axis=0))


def test_points_come_whole_and_in_parts(copc):
    path, positions, classes = copc
    cloud = gio.read(path)
    assert np.array_equal(cloud.positions, positions)
    assert np.array_equal(cloud["classification"], classes)
    with gio.open(path, chunk_size=700) as chunks:
        parts = list(chunks)
    assert [len(part) for part in parts] == [700, 700, 700, 700, 200]
    assert np.array_equal(np.concatenate([part.positions for part in parts]), positions)


def test_what_is_written_has_no_index_of_nodes_that_it_does_not_keep(copc, tmp_path):
    gio.write(tmp_path / "copy.laz", gio.read(copc[0])[::2])
    with laspy.open(tmp_path / "copy.laz") as written:
        records = [*written.header.vlrs, *(written.header.evlrs or [])]
    assert not [record for record in records if record.user_id == "copc"]


def test_a_cloud_optimized_file_is_labelled(copc, tmp_path):
    path, positions, _ = copc
    assert main(["predict", str(path), "-o", str(tmp_path / "out.laz")]) == 0
    assert np.array_equal(gio.read(tmp_path / "out.laz").positions, positions)
