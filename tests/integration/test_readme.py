"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest

from gridless.cli.main import COMMANDS

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("code", [block for block in BLOCKS if not block.startswith("# needs:")])
def test_python_blocks_run(code):
    exec(compile(code, str(README), "exec"), {})


def test_the_layer_gives_the_shapes_that_the_readme_says():
    block = next(block for block in BLOCKS if "ContinuousConv" in block)
    names = {}
    exec(compile(block, str(README), "exec"), names)
    assert names["out"].shape == (500, 32)
    assert names["kernel"].shape == (1, 32, 8)


def test_every_command_is_in_the_table():
    told = set(re.findall(r"^\| `gridless (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert told == set(COMMANDS)
