"""Data sets in the layouts of their publishers: parts, clouds, labels, and words for what is missing or damaged."""

import codecs
import zipfile

import numpy as np
import pytest

import gridless as gl
from gridless.data import DATA_SETS, Files, LabelMap
from gridless.data.published.off import points_on_surface, read_off
from gridless.errors import ReadError
from tests.data.published import layouts


def test_s3dis(tmp_path):
    data = DATA_SETS["s3dis"](layouts.s3dis(tmp_path))
    rooms = data.files("Area_5")
    assert [room.name for room in rooms] == ["hallway_6", "office_1"]
    cloud = data.read(rooms[0])
    assert len(cloud) == 1600
    assert cloud["rgb"].dtype == np.uint8
    assert cloud["rgb"][0].tolist() == [180, 170, 160]
    names = np.array(data.labels.names)[data.labels.of_cloud(cloud, "room")]
    assert {name: int((names == name).sum()) for name in set(names)} == {
        "ceiling": 400, "floor": 400, "clutter": 400, "wall": 400,
    }  # fmt: skip
    assert (cloud.positions[names == "ceiling"][:, 2] == 3).all()
    assert np.unique(cloud["instance"]).tolist() == [0, 1, 2, 3]
    assert len(data.labels.names) == 13
    assert data.incomplete_parts(["Area_5"]) == []


def test_damaged_s3dis_names_the_file(tmp_path):
    data = DATA_SETS["s3dis"](layouts.s3dis(tmp_path))
    room = data.files("Area_1")[0]
    (room / "Annotations" / "wall_1.txt").write_text("1 2 3 4 5 6\n1 2 three 4 5 6\n")
    with pytest.raises(ReadError, match=r"wall_1\.txt: expected lines of x y z r g b"):
        data.read(room)
    (room / "Annotations" / "wall_1.txt").write_text("1 2 3 4 5\n")
    with pytest.raises(ReadError, match=r"wall_1\.txt: expected lines of x y z r g b, got 5 values"):
        data.read(room)


def test_text_that_begins_with_a_byte_order_mark(tmp_path):
    rooms = DATA_SETS["s3dis"](layouts.s3dis(tmp_path / "s3dis"))
    parts = DATA_SETS["shapenet_part"](layouts.shapenet_part(tmp_path / "parts"))
    for data, part in ((rooms, "Area_1"), (parts, "train")):
        (first, *_) = files = data.files(part)
        before = data.read(first)
        for file in [*data.root.rglob("*.txt"), *data.root.rglob("*.json")]:
            file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
        again = type(data)(data.root)
        assert again.files(part) == files
        assert np.array_equal(again.read(first).positions, before.positions)


def test_semantic_kitti(tmp_path):
    data = DATA_SETS["semantic_kitti"](layouts.semantic_kitti(tmp_path))
    (scan, _) = data.files("08")
    assert data.files("valid") == data.files("08")
    cloud = data.read(scan)
    classes = data.labels.of_cloud(cloud, "scan")
    assert classes[0] == -1
    assert set(np.array(data.labels.names)[classes[1:]]) == {"car", "road"}
    assert (cloud["instance"][cloud["label"] == 252] == 7).all()
    assert "label" not in data.read(data.files("11")[0])
    assert data.incomplete_parts(["08"]) == [f"SemanticKITTI, 08: 2 clouds in {tmp_path}, 4071 were published"]
    with pytest.raises(FileNotFoundError, match=r"sequences/01/velodyne is not there\. Get the velodyne scans from"):
        data.files("train")


def test_missing_labels_of_semantic_kitti_are_told(tmp_path):
    data = DATA_SETS["semantic_kitti"](layouts.semantic_kitti(tmp_path))
    first, second = (tmp_path / "sequences" / "00" / "labels" / f"00000{number}.label" for number in range(2))
    first.unlink()
    bad, good = data.files("00")
    with pytest.raises(ReadError, match=rf"000000\.bin: its label file is missing \(looked for {first}\)"):
        data.read(bad)
    assert "label" in data.read(good)
    second.unlink()
    with pytest.raises(FileNotFoundError, match=r"no scan in .*00/velodyne has a label file\. Get the velodyne scans"):
        data.files("00")


def test_semantic_kitti_maps_the_34_raw_labels_to_19_classes(tmp_path):
    labels = DATA_SETS["semantic_kitti"](tmp_path).labels
    raw = [0, 1, 10, 11, 13, 15, 16, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 52, 60, 70, 71, 72, 80, 81, 99]
    raw += range(252, 260)
    published = [0, 0, 1, 2, 5, 3, 5, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 9, 15, 16, 17, 18, 19, 0]
    published += [1, 7, 6, 8, 5, 5, 4, 5]
    assert (labels.encode(raw) + 1).tolist() == published
    inverse = [10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81]
    assert labels.decode(range(19)).tolist() == inverse


def test_modelnet(tmp_path):
    data = DATA_SETS["modelnet40"](layouts.modelnet(tmp_path), num_points=500, num_classes=2)
    train = data.files("train")
    assert len(train) == 8
    assert data.labels.names == ("bathtub", "night_stand")
    cloud, again = data.read(train[0]), data.read(train[0])
    assert np.array_equal(cloud.positions, again.positions)
    assert not np.array_equal(cloud.positions, data.read(train[1]).positions)
    assert np.linalg.norm(cloud.positions, axis=1).max() == pytest.approx(1)
    assert np.allclose(cloud.positions.min(axis=0), -cloud.positions.max(axis=0))
    assert set(data.read(train[-1])["label"]) == {1}
    assert data.stratum(train[-1]) == "night_stand"
    with pytest.raises(ValueError, match="has 2 folders class/train, expected 40"):
        DATA_SETS["modelnet40"](tmp_path)


def test_off_with_counts_in_the_first_line_and_with_large_faces(tmp_path):
    for name, start in (("a.off", "OFF\n"), ("b.off", "OFF")):
        (tmp_path / name).write_text(start + layouts.PYRAMID)
    vertices, triangles = read_off(tmp_path / "a.off")
    joined_vertices, joined_triangles = read_off(tmp_path / "b.off")
    assert np.array_equal(vertices, joined_vertices)
    assert np.array_equal(triangles, joined_triangles)
    assert triangles[:2].tolist() == [[0, 1, 2], [0, 2, 3]]
    assert len(triangles) == 6


SIX = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n2 0 0\n2 2 0\n"


@pytest.mark.parametrize(
    ("counts", "faces", "expected"),
    [
        ("4 2 0\n", "3 0 1 2 0 0 0\n3 1 3 2 0 0 0", [[0, 1, 2], [1, 3, 2]]),  # colors of the format
        ("6 2 0\n", "3 0 1 2 5\r\n3 1 3 2 5\r\n", [[0, 1, 2], [1, 3, 2]]),  # a number in a table of colors
        ("6 3 0\n", "3 0 1 2\n\n  4 0 1 3 2 0.5 0.5 0.5 1\n2 0 1 9\n", [[0, 1, 2], [0, 1, 3], [0, 3, 2]]),
        ("6 2 0\n", "5 0 1 4 5 2\n3 1 3 2", [[0, 1, 4], [0, 4, 5], [0, 5, 2], [1, 3, 2]]),
        ("6 3 0 ", "3 0 1 2 4 0 1\n3 2 3 1 3\n2", [[0, 1, 2], [0, 1, 3], [0, 3, 2], [1, 3, 2]]),  # no line each
        ("6 0 0\n", "", []),
        ("4 2 0 # counts\r\n", "# faces\n3 0 1 2 # first\r\n\n3 1 3 2 #", [[0, 1, 2], [1, 3, 2]]),
        ("6 2 0\n", "4 0 1 3 2 9 # color 9\n# a triangle\n3 1 3 2\n", [[0, 1, 3], [0, 3, 2], [1, 3, 2]]),
    ],
)
def test_faces_of_off(tmp_path, counts, faces, expected):
    vertices = "".join(SIX.splitlines(keepends=True)[: int(counts[0])])
    for start in ("OFF\n", "OFF", "# made by hand\nOFF # of faces\n"):
        (tmp_path / "mesh.off").write_bytes(f"{start}{counts}{vertices}{faces}".encode())
        assert read_off(tmp_path / "mesh.off")[1].tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PLY\n1 1 0", "not an OFF file"),
        ("OFF\n", "numbers of vertices, faces and edges are missing"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n", "promises 3 vertices and 1 faces, but the file is cut short"),
        ("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n4 0 1\n", "promises 2 faces, but the file is cut short"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", r"a face names a vertex outside 0 \.\. 2"),
        (
            "OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2 0 0 0\n3 1\n",
            "4 numbers after its 2 faces, which have no line each",
        ),
        ("OFF\n-3 2 0\n0 0 0\n1 0 0\n", "promises -3 vertices"),
        ("OFF\nnan 2 0\n0 0 0\n1 0 0\n", "not finite"),
        ("OFF\n1 0 0\n0 zero 0\n", "expected numbers after OFF"),
    ],
)
def test_damaged_off(tmp_path, text, message):
    (tmp_path / "mesh.off").write_text(text)
    with pytest.raises(ReadError, match=message):
        read_off(tmp_path / "mesh.off")


def test_points_fill_the_surface_by_area():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 3, 0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    points = points_on_surface(vertices, triangles, 20_000, np.random.default_rng(0))
    small = points[points[:, 0] < 2]
    assert len(small) == pytest.approx(2000, rel=0.1)  # areas 0.5 and 4.5
    assert small.mean(axis=0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.02)
    line = points_on_surface(vertices[:2], np.array([[0, 1, 1]]), 10, np.random.default_rng(0))
    assert set(line[:, 0]) <= {0.0, 1.0}


def test_shapenet_part(tmp_path):
    data = DATA_SETS["shapenet_part"](layouts.shapenet_part(tmp_path))
    files = data.files("val")
    assert [file.parent.name for file in files] == ["02691156", "03797390"]
    cloud = data.read(files[1])
    assert cloud["normal"].shape == (50, 3)
    names = np.array(data.labels.names)[data.labels.of_cloud(cloud, "mug")]
    assert set(names) == {"Mug 0", "Mug 1"}
    assert set(cloud["category"]) == {11}
    assert len(data.labels.names) == 50
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"val1021\w+\.txt is not there\. Unpack shapenetcore"):
        data.files("val")
    (tmp_path / "train_test_split" / "shuffled_val_file_list.json").write_text("[1]")
    with pytest.raises(ReadError, match="expected a list of 'shape_data/folder/id'"):
        data.files("val")


def test_sampled_objects(tmp_path):
    data = DATA_SETS["sampled_objects"](layouts.sampled_objects(tmp_path))
    train = data.files("train")
    assert len(train) == 12
    cloud = data.read(train[-1])
    assert np.linalg.norm(cloud.positions, axis=1).max() == pytest.approx(1)
    assert np.allclose(cloud.positions.min(axis=0), -cloud.positions.max(axis=0))
    assert set(cloud["label"]) == {1}
    assert data.stratum(train[-1]) == "lamp"
    stored = np.load(tmp_path / "train.npz")["points"][3]
    offsets = data.read(train[3]).positions[:2] @ [[1], [0], [0]]
    ratio = (stored[1, 0] - stored[0, 0]) / (offsets[1] - offsets[0])
    assert np.allclose(np.ptp(stored, axis=0), np.ptp(data.read(train[3]).positions, axis=0) * ratio, rtol=1e-4)


def test_damaged_sampled_objects_name_the_archive(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \.npz archive in .*Save train\.npz"):
        DATA_SETS["sampled_objects"](tmp_path)
    path = layouts.sampled_objects(tmp_path) / "train.npz"
    good = dict(np.load(path))
    damages = {
        "has no array label; it has": {"points": good["points"], "classes": good["classes"]},
        "points must be \\[objects, n > 0, 3\\]": good | {"label": good["label"][1:]},
        r"label must be in 0 \.\. 1": good | {"label": good["label"] + 1},
        "classes are lamp, table, in another archive": good | {"classes": np.array(["lamp", "table"])},
    }
    data = DATA_SETS["sampled_objects"](tmp_path)
    for message, arrays in damages.items():
        np.savez(path, **arrays)
        with pytest.raises(ReadError, match=rf"train\.npz: {message}"):
            data.files("train")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReadError, match=r"train\.npz: the archive cannot be read"):
        data.files("train")


def test_archives_that_promise_more_than_they_hold_are_refused_before_they_are_read(tmp_path):
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 100, 3)}
    path = layouts.sampled_objects(tmp_path) / "train.npz"
    with zipfile.ZipFile(path, "a") as archive, archive.open("extra.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(ReadError, match=r"train\.npz: array 'extra' promises 1200000000000 bytes"):
        DATA_SETS["sampled_objects"](tmp_path).files("train")


def test_radhar_leaves_out_what_lies_beyond_the_radars_reach(tmp_path):
    path = layouts.radhar(tmp_path) / "radhar.npz"
    arrays = dict(np.load(path))
    arrays["test_xyzvi"][10] = [55.7, 0.0, 40.5, -888.0, 11.1]
    np.savez(path, **arrays)
    data = DATA_SETS["radhar"](tmp_path)
    first = data.read(data.files("test")[0])
    assert len(first) == 59
    assert first["distance"].max() <= 10


def test_radhar(tmp_path):
    data = DATA_SETS["radhar"](layouts.radhar(tmp_path), training_step=1.0, speed=0.5)
    train, test = data.files("train"), data.files("test")
    assert (len(train), len(test)) == (4 * 5, 4 * 3)  # 6 s: windows of 2 s every 1 s, and every 2 s
    assert [data.stratum(path) for path in test[:4]] == ["jump", "jump", "jump", "walk"]
    assert len({data.group(path) for path in train}) == 4
    cloud = data.read(test[4])  # seconds 2 to 4 of the second recording
    assert cloud.positions.shape == (60, 4)
    stored = np.load(tmp_path / "radhar.npz")["test_xyzvi"][180 + 60 : 180 + 120]
    assert np.allclose(cloud.positions[:, [1, 0, 2]], stored[:, :3])
    assert np.allclose(cloud.positions[:, 3], 0.5 * np.arange(60) / 30, atol=1e-6)
    assert np.allclose(cloud["velocity"], stored[:, 3])
    assert np.allclose(cloud["intensity"], stored[:, 4])
    assert np.allclose(cloud["distance"], np.linalg.norm(stored[:, :3], axis=1))
    assert set(cloud["label"]) == {1}
    with pytest.raises(ValueError, match="training_step must be positive"):
        DATA_SETS["radhar"](tmp_path, training_step=0.0)


def test_windows_without_points_are_left_out_and_damage_is_told(tmp_path):
    path = layouts.radhar(tmp_path) / "radhar.npz"
    good = dict(np.load(path))
    late = good["test_t"].copy()
    late[60:180] += 2.0  # the first recording is silent from 2 s to 4 s
    np.savez(path, **good | {"test_t": late})
    windows = [file.name for file in DATA_SETS["radhar"](tmp_path).files("test") if file.parent.name == "0"]
    assert windows == ["0", "2", "3"]
    np.savez(path, **good | {"train_offsets": good["train_offsets"][1:]})
    with pytest.raises(ReadError, match=r"radhar\.npz: train: expected offsets"):
        DATA_SETS["radhar"](tmp_path).files("train")


def test_a_folder_of_files(tmp_path):
    cloud = gl.PointCloud(np.eye(3), {"classification": np.array([2, 6, 2], np.uint8)})
    for name in ("a.las", "b.laz", "c.ply"):
        gl.write(tmp_path / name, cloud)
    data = Files(tmp_path, LabelMap({"ground": [2], "house": [6]}))
    files = data.files(".")
    assert [file.name for file in files] == ["a.las", "b.laz", "c.ply"]
    assert all(data.labels.of_cloud(data.read(file), "file").tolist() == [0, 1, 0] for file in files)


@pytest.mark.parametrize("name", sorted(DATA_SETS))
def test_what_is_not_there_is_told_with_the_way_to_get_it(tmp_path, name):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere is not there\. .*(https?://|\.zip|\.npz).*the path is the folder"
    ):
        DATA_SETS[name](tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s3dis", {}),
        ("semantic_kitti", {}),
        ("modelnet40", {"num_classes": 2}),
        ("shapenet_part", {}),
        ("sampled_objects", {}),
        ("radhar", {}),
    ],
)
def test_an_unknown_part_names_the_known_ones(tmp_path, name, options):
    data = DATA_SETS[name](getattr(layouts, name.removesuffix("40"))(tmp_path), **options)
    with pytest.raises(ValueError, match="has no part 'Area_7'; it has "):
        data.files("Area_7")


def test_a_real_scan_has_only_labels_of_the_map(tmp_path, real_data):
    folder = real_data / "semantickitti_scan"
    data = DATA_SETS["semantic_kitti"](tmp_path)
    classes = data.labels.of_cloud(data.read(folder / "000000.bin"), "scan")
    assert len(classes) == 123_389
    assert (classes == data.labels.names.index("car")).sum() == 1534


@pytest.mark.parametrize("label", ["2.5", "256", "nan", "36"])
def test_labels_that_are_no_part_of_their_category_are_refused(tmp_path, label):
    data = DATA_SETS["shapenet_part"](layouts.shapenet_part(tmp_path))
    airplane = data.files("train")[0]
    airplane.write_text(f"0 0 0 0 0 1 1\n0 0 0 0 0 1 {label}\n")
    with pytest.raises(ReadError, match=rf"Airplane has the parts 0 to 3, got {label} \(at line 2\)"):
        data.read(airplane)


def test_lists_of_shapenet_part_that_name_an_unknown_folder(tmp_path):
    data = DATA_SETS["shapenet_part"](layouts.shapenet_part(tmp_path))
    (tmp_path / "train_test_split" / "shuffled_train_file_list.json").write_text('["shape_data/99999999/a"]')
    with pytest.raises(ReadError, match="names the folder '99999999', which is of no category"):
        data.files("train")


def test_copies_and_hidden_files_are_no_data(tmp_path):
    rooms = DATA_SETS["s3dis"](layouts.s3dis(tmp_path / "s3dis"))
    (room, *_) = rooms.files("Area_1")
    before = len(rooms.read(room))
    wall = room / "Annotations" / "wall_1.txt"
    (wall.parent / "wall_1 (1).txt").write_bytes(wall.read_bytes())
    assert len(rooms.read(room)) == before
    objects = DATA_SETS["modelnet40"](layouts.modelnet(tmp_path / "objects"), num_classes=2)
    scans = DATA_SETS["semantic_kitti"](layouts.semantic_kitti(tmp_path / "scans"))
    for data, part, suffix in ((objects, "train", ".off"), (scans, "00", ".bin")):
        files = data.files(part)
        (files[0].parent / f"._first{suffix}").write_bytes(b"\0\5\26\7")
        assert data.files(part) == files
