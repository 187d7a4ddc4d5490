"""What importing the package loads, and who may import whom."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(code, watched):
    """Which of these modules a fresh interpreter has loaded after running ``code``."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([name for name in {watched!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_package_alone_loads_nothing_heavy():
    watched = ["torch", "scipy", "numpy", "laspy", "lightning", "plotly", "matplotlib"]
    assert modules_after("import gridless; gridless.__version__; dir(gridless)", watched) == []


def test_search_loads_only_what_it_needs():
    watched = ["torch", "lightning", "laspy", "plotly", "matplotlib"]
    code = "import gridless, torch; p = torch.rand(9, 3); assert gridless.knn(p, p, 2).num_pairs == 18"
    assert modules_after(code, watched) == ["torch"]


def test_models_load_neither_training_nor_viewer():
    code = "import gridless; gridless.build_model('pccn', in_channels=1, num_classes=2); gridless.nn.ContinuousConv"
    assert modules_after(code, ["lightning", "plotly", "matplotlib", "gridless.training"]) == []


@pytest.mark.parametrize("command", ["predict", "view", "info", "evaluate", "report"])
def test_commands_that_do_not_train_start_without_lightning(command):
    assert modules_after(f"import gridless.cli.{command}", ["lightning", "torch._dynamo"]) == []


def test_every_public_name_can_be_had_and_unknown_ones_are_named():
    import gridless

    for name in gridless.__all__:
        assert getattr(gridless, name) is not None, name
        assert name in dir(gridless)
    with pytest.raises(AttributeError, match="module 'gridless' has no attribute 'kn'"):
        gridless.kn  # noqa: B018


def test_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed beside this Python")
    done = subprocess.run(
        [linter, "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
