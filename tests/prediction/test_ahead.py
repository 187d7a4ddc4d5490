"""The next item is made, and the last one kept, while one is worked on."""

import threading

import pytest

from gridless.prediction.ahead import OneBehind, one_ahead


def test_the_next_item_is_made_while_one_is_worked_on():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    found = []
    for item in one_ahead(items()):
        found.append(item)
        if item + 1 < len(made):
            assert made[item + 1].wait(10)
    assert found == [0, 1, 2]
    assert list(one_ahead(())) == []


def test_errors_come_where_the_item_would_have():
    def items():
        yield 1
        raise OSError("disk")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="disk"):
        next(ahead)


def test_calls_run_behind_in_their_order_and_one_at_a_time():
    may_end, kept = threading.Event(), []

    def keep(number):
        assert may_end.wait(10)
        kept.append(number)

    with OneBehind() as behind:
        behind(keep, 0)
        assert kept == []
        may_end.set()
        behind(keep, 1)
        assert kept[0] == 0
    assert kept == [0, 1]


def full_disk():
    raise OSError("disk")


def call_behind(*functions):
    with OneBehind() as behind:
        for function in functions:
            behind(function)


def test_an_error_behind_comes_out_of_the_next_call_or_at_the_end():
    with pytest.raises(OSError, match="disk"):
        call_behind(full_disk)
    with pytest.raises(OSError, match="disk"):
        call_behind(full_disk, print)


def test_an_error_of_the_work_itself_goes_before_one_behind():
    def fail():
        raise ValueError("first")

    def run():
        with OneBehind() as behind:
            behind(full_disk)
            fail()

    with pytest.raises(ValueError, match="first"):
        run()
