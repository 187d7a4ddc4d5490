"""Runs side by side, as the command writes them and as a browser sees them."""

import html
import json

import numpy as np
import pytest
import yaml

from gridless.cli.main import main
from gridless.metrics import SegmentationScores
from gridless.viewer import ComparedRun, write_comparison
from gridless.viewer.comparison import differing_settings
from tests.viewer.browser import Elements, opened

HOSTILE = "<script>alert(1)</script>"


def make_run(folder, confusion=None, rate=0.1, names=("ground", HOSTILE), **notes):
    table = folder / "curves" / "version_0" / "metrics.csv"
    table.parent.mkdir(parents=True)
    table.write_text("step,train_loss,val_miou\n1,0.9,\n2,0.5,0.7\n")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"schedule": {"rate": rate, "steps": 3}, "note": HOSTILE}))
    if confusion is not None:
        scores = SegmentationScores(names, np.array(confusion))
        (folder / "scores.json").write_text(json.dumps(scores.to_dict() | notes))
    return folder


def cells_of(page, table):
    part = page.split(f'<table id="{table}">')[1].split("</table>")[0]
    rows = [row.split("</td>")[:-1] for row in part.split("<tr>")[2:]]
    return {
        row[0].split(">")[-1]: [
            cell.replace("<div>", "").replace("</div>", "").split("<td")[-1].partition(">") for cell in row[1:]
        ]
        for row in rows
    }


def test_scores_recipes_and_curves_of_runs_stand_side_by_side(tmp_path, capsys):
    better = make_run(tmp_path / "x" / "run", [[9, 1], [0, 10]], scored="validation")
    worse = make_run(tmp_path / "y" / "run", [[8, 2], [0, 10]], rate=0.2)
    unscored = make_run(tmp_path / "new")
    output = tmp_path / "report.html"
    assert main(["report", str(better), str(worse), str(unscored), "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out.replace("\n", "")
    text = output.read_text()
    scores, recipes = cells_of(text, "scores"), cells_of(text, "recipes")
    assert scores["mean IoU"] == [(' class="best"', ">", "90.5"), ("", ">", "81.7"), ("", ">", "–")]
    assert scores["overall accuracy"][0][2] == "95.0"
    assert [value for *_, value in scores["IoU of ground"]] == ["90.0", "80.0", "–"]
    assert [value for *_, value in scores["points scored"]] == ["20", "20", "–"]
    assert [value for *_, value in scores["scored"]] == ["validation", "–", "–"]
    assert {key: [value for *_, value in row] for key, row in recipes.items()} == {
        "schedule.rate": ["0.1", "0.2", "0.1"]
    }
    assert "2 are the same" in text
    assert f"IoU of {html.escape(HOSTILE)}" in text
    assert HOSTILE not in text
    elements = Elements(text).found
    assert not [(tag, a) for tag, a in elements if {"src", "href"} & a.keys()]
    found = opened(output, tmp_path / "profile")
    body = next(attributes for tag, attributes in found if tag == "body")
    assert "data-error" not in body, body["data-error"]
    assert body.get("data-ready") == "true"
    assert sum("scatterlayer" in a.get("class", "") for _, a in found) == 2  # a panel for the loss, one for the score


def test_equal_scores_have_no_best(tmp_path):
    scores = SegmentationScores(("a",), np.array([[5]]))
    write_comparison(tmp_path / "report.html", [ComparedRun("a", scores), ComparedRun("b", scores)])
    assert cells_of((tmp_path / "report.html").read_text(), "scores")["mean IoU"] == [("", ">", "100.0")] * 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "recipe.yaml").unlink(), "no recipe.yaml"),
        (lambda run: (run / "recipe.yaml").write_text("a: ["), "not a YAML file"),
        (lambda run: (run / "scores.json").write_text('{"class_names": ["a"]}'), "confusion"),
        (lambda run: run.rename(run.with_name("elsewhere")), "no such folder"),
    ],
)
def test_folders_that_are_no_runs_are_named_and_nothing_is_written(tmp_path, capsys, spoil, message):
    run = make_run(tmp_path / "run")
    spoil(run)
    assert main(["report", str(run), "--output", str(tmp_path / "report.html")]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", "").split())
    assert not (tmp_path / "report.html").exists()


def test_of_lists_only_what_differs_is_shown():
    names = [{"name": "height", "limits": None}, {"name": "intensity"}]
    others = [names[1], {"name": "slope", "scale": 2}]
    rows, equal = differing_settings([{"f": names, "g": []}, {"f": others, "g": [1]}, {}])
    assert rows == [
        ("f", ["name: height\n1 in common", "name: slope, scale: 2\n1 in common", "–"]),
        ("g", ["[]", "1", "–"]),
    ]
    assert equal == 0


def test_a_run_is_compared_with_others_only():
    with pytest.raises(ValueError, match="name of its own"):
        write_comparison("never.html", [ComparedRun("a"), ComparedRun("a")])
