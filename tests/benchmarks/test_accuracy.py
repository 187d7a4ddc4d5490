"""Files of tasks: every contender once, rows kept, tables in the document that the file names."""

import sys

import pytest

from benchmarks import accuracy

TASKS = """
results: tries.csv
document: tries.md
tasks:
  hills:
    title: Hills
    recipe: aerial_lidar
    changes: {schedule.steps: 5}
    contenders:
      plain: {seeds: [0, 1]}
      wide: {changes: {network.config.num_neighbors: 24}}
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """What was measured, with nothing trained."""
    calls = []

    def measure(name, label, task, contender, seed, runs):
        calls.append((name, label, seed, {**task.changes, **contender.changes}, runs))
        return accuracy.AccuracyRow(
            name, label, seed, 0.5 + seed / 10, "ground 0.500", 0.75, 1_250_000, 2.5, "2026-01-01"
        )

    monkeypatch.setattr(accuracy, "_measure", measure)
    monkeypatch.setattr(accuracy, "_ROOT", tmp_path)
    monkeypatch.setattr(accuracy, "RESULTS_FOLDER", tmp_path)
    (tmp_path / "tasks.yaml").write_text(TASKS)
    command = f"python -m benchmarks.accuracy --file {tmp_path / 'tasks.yaml'}"
    (tmp_path / "tries.md").write_text(
        f"# Tries\n<!-- begin tries: made by `{command}` -->\n<!-- end tries -->\nafter\n"
    )

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["accuracy", *words, "--file", str(tmp_path / "tasks.yaml")])
        assert accuracy.main() == 0
        return calls

    return run


def test_every_contender_is_measured_once(measured, tmp_path):
    calls = measured()
    assert [call[:3] for call in calls] == [("hills", "plain", 0), ("hills", "plain", 1), ("hills", "wide", 0)]
    assert calls[2][3] == {"schedule.steps": 5, "network.config.num_neighbors": 24}
    assert calls[0][4].name == "tasks"
    table = (tmp_path / "tries.md").read_text()
    assert "**Hills**" in table
    assert "| plain | 1 | 0.6000 | ground 0.500 | 0.7500 | 1.25 M | 2.5 |" in table
    assert table.endswith("after\n")
    assert len(measured()) == 3  # rows are there already


def test_some_contenders(measured):
    assert [call[1] for call in measured("hills", "--contenders", "wide")] == ["wide"]
    with pytest.raises(SystemExit):
        measured("valleys")
