"""The values that arguments are translated to."""

from __future__ import annotations

import pytest

from kerasfit import arguments
from kerasfit.arguments import Schedule, ValidationSchedule


def test_epochs_is_the_last_epoch_and_numbering_starts_at_one():
    assert list(Schedule.of(1, 3).starting_at(None)) == [1, 2, 3]
    assert list(Schedule.of(6, 10).starting_at(None)) == [6, 7, 8, 9, 10]
    assert list(Schedule.of(6.0, 6.0).starting_at(None)) == [6]


def test_a_callback_can_move_the_first_epoch():
    assert list(Schedule.of(1, 5).starting_at(4)) == [4, 5]


def test_validation_freq_is_a_period_or_a_set_of_epochs():
    assert [epoch for epoch in range(1, 7) if ValidationSchedule.of(2).due(epoch)] == [2, 4, 6]
    assert [epoch for epoch in range(1, 7) if ValidationSchedule.of([1, 5.0]).due(epoch)] == [1, 5]


@pytest.mark.parametrize(
    ("yielded", "expected"),
    [
        (("x",), ("x", None, None)),
        (("x", "y"), ("x", "y", None)),
        (("x", "y", "w"), ("x", "y", "w")),
        (["x", "y"], ("x", "y", None)),
        ("x", ("x", None, None)),
        ({"x": 1, "y": 2}, ({"x": 1, "y": 2}, None, None)),
        (({"a": 1}, "y"), ({"a": 1}, "y", None)),
        (("a", "b", "c", "d"), (("a", "b", "c", "d"), None, None)),
        ((), ((), None, None)),
    ],
)
def test_tuples_of_one_to_three_are_unpacked_and_anything_else_is_x(yielded, expected):
    assert arguments.unpack(yielded) == expected


def test_verbose_auto_is_a_bar_or_lines_on_a_distributed_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert arguments.verbosity("auto") == 1
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {}}')
    assert arguments.verbosity("auto") == 2
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert arguments.verbosity("auto") == 2
    assert [arguments.verbosity(value) for value in (0, 1.0, 2)] == [0, 1, 2]
