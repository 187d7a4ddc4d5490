"""What cannot be written is refused before anything is labelled."""

import laspy
import numpy as np
import pytest

from gridless.prediction import predict_file


def write_las_with_5_bit_classes(file):
    las = laspy.LasData(laspy.LasHeader(version="1.2", point_format=1))
    las.xyz = np.random.default_rng(0).uniform(0, 20, (500, 3))
    las.write(file)


@pytest.mark.parametrize(
    ("target", "classes", "error", "message"),
    [
        ("nowhere/out.ply", {"ground": [2]}, FileNotFoundError, r"out\.ply: the folder .*nowhere does not exist"),
        (
            "out.bin",
            {"ground": [2]},
            ValueError,
            r"\.bin (has no place for probability_ground|is not written in parts)",
        ),
        ("out.laz", {"a name of more than 20 bytes": [2]}, ValueError, "is no name for LAS"),
        ("out.las", {"ground": [2], "house": [64]}, ValueError, "LAS point format 1, got 64"),
    ],
)
@pytest.mark.parametrize("memory", [10**9, 10**5], ids=["whole", "tiles"])
def test_what_cannot_be_written_is_not_labelled(model, tmp_path, monkeypatch, target, classes, error, message, memory):
    model.metadata["labels"]["classes"] = classes
    source = tmp_path / "in.las"
    write_las_with_5_bit_classes(source)
    monkeypatch.setattr(model, "forward", lambda *arguments: pytest.fail("the network was asked"))
    with pytest.raises(error, match=message):
        predict_file(model, source, tmp_path / target, memory=memory, probabilities=True)
    assert list(tmp_path.iterdir()) == [source]
