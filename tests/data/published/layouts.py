"""Small data sets in the exact layouts of their publishers."""

import json

import numpy as np

CUBE = """8 12 0
0 0 0
2 0 0
2 4 0
0 4 0
0 0 1
2 0 1
2 4 1
0 4 1
3 0 1 2
3 0 2 3
3 4 5 6
3 4 6 7
3 0 1 5
3 0 5 4
3 1 2 6
3 1 6 5
3 2 3 7
3 2 7 6
3 3 0 4
3 3 4 7
"""
PYRAMID = "5 5 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0.5 0.5 3\n4 0 1 2 3\n3 0 1 4\n3 1 2 4\n3 2 3 4\n3 3 0 4\n"


def modelnet(root, classes=("bathtub", "night_stand"), per_class=4):
    """Classes of boxes and of tall pyramids; every second file has the counts in the first line."""
    for number, name in enumerate(classes):
        for part, count in (("train", per_class), ("test", 2)):
            folder = root / name / part
            folder.mkdir(parents=True)
            for index in range(1, count + 1):
                mesh = CUBE if number % 2 == 0 else PYRAMID
                text = ("OFF" if index % 2 else "OFF\n") + mesh
                (folder / f"{name}_{index:04}.off").write_text(text)
    return root


def s3dis(root, areas=("Area_1", "Area_5"), num_points=400):
    """Rooms with a floor, a ceiling with the known defect, a wall, and stairs, which is none of the classes."""
    rng = np.random.default_rng(0)
    heights = {"floor_1": (0, 0), "ceiling_1": (3, 3), "wall_1": (0, 3), "stairs_1": (0, 1)}
    for area in areas:
        (root / area).mkdir(parents=True)
        (root / area / f"{area}_alignmentAngle.txt").write_text("## Global alignment angle per disjoint space\n")
        for room in ("hallway_6", "office_1"):
            folder = root / area / room / "Annotations"
            folder.mkdir(parents=True)
            for name, (low, high) in heights.items():
                xyz = rng.uniform([0, 0, low], [4, 4, high], (num_points, 3))
                lines = [f"{x:.3f} {y:.3f} {z:.3f} 180 170 {160}" for x, y, z in xyz]
                if name == "ceiling_1":
                    lines[3] = "1.000 2.000 3.000 180\x10170 160"
                (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
            (root / area / room / f"{room}.txt").write_text("0 0 0 1 2 3\n")
    return root


def semantic_kitti(root, sequences=("00", "08", "11"), num_points=300):
    """Scans of roads (raw label 40) and moving cars (252) with instances; sequence 11 has no labels."""
    rng = np.random.default_rng(0)
    for sequence in sequences:
        folder = root / "sequences" / sequence
        (folder / "velodyne").mkdir(parents=True)
        if int(sequence) < 11:
            (folder / "labels").mkdir()
        for scan in range(2):
            is_car = rng.random(num_points) < 0.3
            points = rng.uniform([-9, -9, 0, 0], [9, 9, 0.1, 1], (num_points, 4))
            points[is_car, 2] += 1.5
            points.astype("<f4").tofile(folder / "velodyne" / f"{scan:06}.bin")
            if int(sequence) < 11:
                labels = np.where(is_car, 252 | 7 << 16, 40).astype("<u4")
                labels[0] = 52
                labels.tofile(folder / "labels" / f"{scan:06}.label")
    return root


def shapenet_part(root):
    """Two categories, with the lists of the split."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    (root / "synsetoffset2category.txt").write_text("Airplane\t02691156\nMug\t03797390\n")
    (root / "train_test_split").mkdir()
    folders = {"02691156": (0, 1), "03797390": (36, 37)}
    for part in ("train", "val", "test"):
        listed = []
        for folder, labels in folders.items():
            (root / folder).mkdir(exist_ok=True)
            values = np.column_stack([rng.uniform(-0.5, 0.5, (50, 3)), rng.normal(size=(50, 3)), np.repeat(labels, 25)])
            np.savetxt(root / folder / f"{part}1021a0914a7207aff927ed529ad90a11.txt", values, "%.6f")
            listed.append(f"shape_data/{folder}/{part}1021a0914a7207aff927ed529ad90a11")
        (root / "train_test_split" / f"shuffled_{part}_file_list.json").write_text(json.dumps(listed))
    return root


def sampled_objects(root, per_class=6):
    """Archives of flat and of tall objects in their own units."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        label = np.repeat(np.arange(2, dtype=np.uint8), per_class)
        shape = np.array([[1.0, 1.0, 0.1], [0.1, 0.1, 1.0]])[label]
        points = rng.uniform(-1, 1, (2 * per_class, 100, 3)) * shape[:, None] * 700 + 40
        np.savez(root / f"{part}.npz", points=points.astype(np.float32), label=label, classes=["table", "lamp"])
    return root


def radhar(root, recordings=4, seconds=6.0, points_per_second=30):
    """Recordings of two activities: one moves fast, one does not."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    arrays = {"classes": np.array(["jump", "walk"])}
    for part in ("train", "test"):
        label = np.arange(recordings, dtype=np.uint8) % 2
        count = round(seconds * points_per_second)
        values = rng.uniform([0, -1, -1, -1, 15], [5, 1, 1, 1, 35], (recordings * count, 5))
        values[:, 3] *= np.repeat(1.0 + 4 * label, count)
        arrays |= {
            f"{part}_label": label,
            f"{part}_offsets": np.arange(recordings + 1) * count,
            f"{part}_t": np.tile(np.arange(count) / points_per_second, recordings).astype(np.float32),
            f"{part}_xyzvi": values.astype(np.float32),
        }
    np.savez(root / "radhar.npz", **arrays)
    return root
