"""CSV files, the sections of the document, and the picture."""

from dataclasses import replace

import pytest

from benchmarks.pictures import draw_scaling
from benchmarks.report import SECTIONS, update_document
from benchmarks.rows import Row, read_rows, write_rows
from benchmarks.suite import Goal, LayerCase, MemoryCase, ScalingCase, Suite, TrainingCase

FACTS = {"date": "2026-01-02", "machine": "a machine", "threads": 2, "torch": "2.x", "command": "make bench"}
OURS = Row("wide", "auto", "forward", 100, 5, 3, 4, 20.0, 1.0, 50.0, 0.5, **FACTS)
THEIRS = replace(OURS, contender="plain", milliseconds=50.0, times_ours=2.5, useful_gflops=20.0, difference=1.3e-6)
MISSING = Row("wide", "open3d", "forward", note="ImportError: no such | module", **FACTS)
SUITE = Suite(
    layers={"wide": LayerCase("Wide layer"), "never_run": LayerCase("Never run")},
    memory={"peak": MemoryCase("Peak")},
    training={"step": TrainingCase("Steps")},
    scaling={"grow": ScalingCase("Growing", "channels", (3, 30))},
    goals=(
        Goal("speed", "wide", "times_ours", "forward", "plain", at_least=2, hoped_for=3),
        Goal("part", "wide", "part_of_gemm", "forward", at_least=0.75),
        Goal("memory", "peak", "peak_megabytes", at_most=7),
        Goal("later", "never_run", "milliseconds", at_most=7),
    ),
)
RESULTS = {
    "wide": [OURS, THEIRS, MISSING],
    "peak": [Row("peak", "auto", "forward + backward", peak_megabytes=6.4, process_megabytes=300.0, **FACTS)],
    "step": [Row("step", "auto", "step", 15000, milliseconds=500.0, points_per_second=3e4, times_ours=1.0, **FACTS)],
    "grow": [
        replace(OURS, case="grow", in_channels=3, peak_megabytes=2.0),
        replace(OURS, case="grow", in_channels=30, milliseconds=2100.0, peak_megabytes=20.0),
        replace(MISSING, case="grow", contender="plain", in_channels=3, note="", milliseconds=3.0),
        replace(MISSING, case="grow", contender="plain", in_channels=30, note="would take about 99 s"),
    ],
}


def document(text="by hand"):
    return "\n".join(
        f"{text}\n<!-- begin {name}: made by `make bench` -->\nold\n<!-- end {name} -->" for name in SECTIONS
    )


def test_rows_survive_their_file(tmp_path):
    rows = [OURS, THEIRS, MISSING, replace(OURS, failed=True, note='quotes ", commas,\nlines')]
    write_rows(tmp_path / "case.csv", rows)
    assert read_rows(tmp_path / "case.csv") == rows


def test_sections_are_replaced_and_the_rest_stays(tmp_path):
    path = tmp_path / "BENCHMARKS.md"
    path.write_text(document())
    update_document(path, SUITE, RESULTS)
    text = path.read_text()
    assert text.count("by hand") == len(SECTIONS)
    assert "old" not in text.splitlines()
    expected = [
        "a machine, 2 threads, torch 2.x, 2026-01-02, `make bench`",
        "| speed | ≥ 2 | ≥ 3 | 2.5 | reached |",
        "| part | ≥ 0.75 |  | 0.5 | missed |",
        "| memory | ≤ 7 |  | 6.4 | reached |",
        "| later | ≤ 7 |  | not measured |  |",
        "| gridless | forward | 20 ms | 1 | 50 | 0.5 |  |",
        "| plain torch operations | forward | 50 ms | 2.5 | 20 | 0.5 | 1e-06 |",
        "| gridless | forward + backward | 6 MB | 300 MB |",
        "| gridless | 15,000 | 500 ms | 30,000 | 1 |  |",
        "| 30 | 2.1 s, 20 MB | would take about 99 s |",
    ]
    for line in expected:
        assert line in text.splitlines(), text
    assert r"ImportError: no such \| module" in text
    update_document(path, SUITE, RESULTS)
    assert path.read_text() == text


def test_results_of_different_days_say_so(tmp_path):
    path = tmp_path / "BENCHMARKS.md"
    path.write_text(document())
    update_document(path, SUITE, RESULTS | {"peak": [replace(RESULTS["peak"][0], date="2026-03-04")]})
    text = path.read_text()
    assert "- wide, step, grow: a machine, 2 threads, torch 2.x, 2026-01-02" in text
    assert "- peak: a machine, 2 threads, torch 2.x, 2026-03-04" in text


def test_a_document_without_markers_is_left_alone(tmp_path):
    path = tmp_path / "BENCHMARKS.md"
    path.write_text(document().replace("<!-- end memory -->", ""))
    before = path.read_text()
    with pytest.raises(ValueError, match="section 'memory' has no markers"):
        update_document(path, SUITE, RESULTS)
    assert path.read_text() == before


def test_picture_of_partial_results(tmp_path):
    unmeasured = replace(RESULTS["grow"][0], contender="open3d", milliseconds=None, peak_megabytes=None)
    draw_scaling(tmp_path / "scaling.png", SUITE.scaling, RESULTS | {"grow": [*RESULTS["grow"], unmeasured]})
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    draw_scaling(tmp_path / "none.png", SUITE.scaling, {})
    assert not (tmp_path / "none.png").exists()
