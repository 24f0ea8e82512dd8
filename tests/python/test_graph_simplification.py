"""Recordings have fewer and faster operations than Keras ran, with the same results."""

from __future__ import annotations

import keras
import pytest

torch = pytest.importorskip("torch")
if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

from test_constant_folding import assert_same, recorded  # noqa: E402

from kerasfit.engines.torch.python_functions import python_function  # noqa: E402
from kerasfit.engines.torch.recorder import Recorder  # noqa: E402

ATEN = torch.ops.aten


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ATEN.mul.Scalar(x.exp(), 1),
        lambda x: ATEN.div.Scalar(x.exp(), 1),
        lambda x: x.exp() ** 1,
    ],
)
def test_operations_that_change_nothing_are_left_out(function):
    assert len(assert_same(lambda x: function(x) + 2, [])) == 2


def test_a_copy_made_by_such_an_operation_is_kept_if_one_of_both_is_written_into():
    def copied(x):
        before = x.exp()
        copy = before**1
        copy.add_(1)
        return before + copy

    assert_same(copied, [])


def test_sums_do_not_keep_dimensions_that_are_then_removed():
    names = assert_same(lambda x: x.expand(4, 3).exp().sum([0], keepdim=True).view(3), ["view"])
    assert len(names) == 3
    assert_same(lambda x: x.expand(4, 3).exp().sum([0], keepdim=True).view(3, 1), [])
    assert_same(lambda x: x.exp().sum().sum(0, keepdim=True).view([]), [])


@pytest.mark.parametrize("second", [lambda x: x * 2, lambda x: torch.tensor(2.0)])
def test_variables_are_changed_in_place(second):
    def updated(variable, x):
        variable.copy_(variable + second(x))
        return variable * 1.5

    variable = torch.arange(3.0)
    recorder = Recorder([variable], [x := torch.arange(3.0)])
    with torch.no_grad(), recorder:
        outputs = updated(variable, x)
    program = recorder.program([outputs])
    assert "copy_" not in [node.target for node in recorder._graph.nodes]
    for number in range(3):
        one, other = torch.full((3,), number + 0.5), torch.full((3,), number + 0.5)
        expected = updated(one, x)
        (found,) = program(other, x)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_a_variable_that_changes_between_its_use_and_the_copy_is_not_changed_in_place():
    def updated(x):
        total = x.exp()
        result = total + x
        total.mul_(2)
        total.copy_(result)
        return total

    assert_same(updated, [])


def test_a_view_of_the_variable_itself_is_not_added_in_place():
    def updated(x):
        total = x.expand(3, 3).exp()
        total.copy_(total + total.t())
        return total

    assert any("copy_" in name for name in assert_same(updated, []))


def test_gradients_that_are_ones_are_constants():
    names = assert_same(lambda x: torch.ones_like(x.sum()) / 4 + x, ["ones_like", "div"])
    assert len(names) == 1


def test_pytorch_functions_are_called_only_for_the_operations_that_they_call():
    a, b = torch.ones(2, 2), torch.ones(2)
    assert python_function(ATEN.add.Tensor, (a, b), {"alpha": 2}) is torch.add
    assert python_function(ATEN._foreach_add_.List, ([a], [a]), {}) is torch._foreach_add_
    assert python_function(ATEN.copy_.default, (a, b), {}) == "copy_"
    assert python_function(ATEN.mul.Scalar, (a, 2.0), {}) is None  # torch.mul() calls mul.Tensor
    assert torch.equal(a, torch.ones(2, 2))  # nothing is executed


def test_random_numbers_are_drawn_by_pytorch_functions_too():
    program, _ = recorded(lambda x: torch.ops.aten.native_dropout(x, 0.5, True)[0], torch.ones(99))
    assert not torch.equal(program(torch.ones(99)), program(torch.ones(99)))
