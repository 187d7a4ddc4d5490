"""What the documents name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED_TESTS = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text())


@pytest.mark.parametrize(("file", "name"), NAMED_TESTS)
def test_the_tests_of_the_faults_exist(file, name):
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_faults_are_named_with_their_tests():
    assert len(NAMED_TESTS) > 40
