"""The next tile is made while one is worked on."""

import threading

import pytest

from gridless.prediction.large.scoring import _one_ahead


def test_the_next_item_is_made_while_one_is_worked_on():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    found = []
    for item in _one_ahead(items()):
        found.append(item)
        if item + 1 < len(made):
            assert made[item + 1].wait(10)
    assert found == [0, 1, 2]
    assert list(_one_ahead(())) == []


def test_errors_come_where_the_item_would_have():
    def items():
        yield 1
        raise OSError("disk")

    ahead = _one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk"):
        next(ahead)
