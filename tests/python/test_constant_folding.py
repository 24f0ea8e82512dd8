"""Recorded operations on constants are computed once; those that depend on anything else are not."""

from __future__ import annotations

import keras
import pytest

torch = pytest.importorskip("torch")
if keras.backend.backend() != "torch":
    pytest.skip("about PyTorch", allow_module_level=True)

from kerasfit.engines.torch.recorder import Recorder  # noqa: E402


def recorded(function, *inputs):
    """Record a function of tensors; return it as a program, and the names of the operations in it."""
    recorder = Recorder([], list(inputs))
    with torch.no_grad(), recorder:
        outputs = function(*inputs)
    program = recorder.program([outputs])
    names = [str(node.target) for node in recorder._graph.nodes if node.op.startswith("call")]
    return lambda *args: program(*args)[0], names


def assert_same(function, folded):
    """Compare three replays with the function, on new inputs each time, and the operations folded."""
    program, names = recorded(function, torch.arange(3.0))
    for number in range(3):
        x = torch.arange(3.0) + number
        torch.testing.assert_close(program(x), function(x), rtol=0, atol=0)
    assert not [name for name in names if any(part in name for part in folded)], names
    return names


def test_operations_on_constants_are_computed_once():
    scale = torch.tensor(2.0)
    names = assert_same(lambda x: x * (torch.exp(scale) + torch.ones(3)).sum(), ["exp", "ones", "add", "sum"])
    assert len(names) == 1


def test_a_tensor_that_is_written_into_is_no_constant():
    def accumulated(x):
        total = torch.zeros(3)
        total += x
        return total * torch.exp(torch.tensor(1.0))

    assert any("zeros" in name for name in assert_same(accumulated, ["exp"]))


def test_a_tensor_whose_part_is_written_into_is_no_constant():
    def partly(x):
        total = torch.zeros(2, 3)
        total[1].copy_(x)
        return total.exp().sum()

    assert_same(partly, [])


def test_a_part_of_a_tensor_that_is_written_into_later_is_no_constant():
    def later(x):
        total = torch.zeros(2, 3)
        part = total.view(6)
        before = part + 1
        total[0].add_(x)
        return before.sum() + part.sum()

    assert_same(later, [])


def test_a_list_of_tensors_that_is_written_into_is_no_constant():
    def listed(x):
        totals = [torch.zeros(3), torch.ones(3)]
        torch._foreach_add_(totals, [x, 2 * x])
        return totals[0] + totals[1]

    assert_same(listed, [])


def test_parts_of_a_split_constant_that_are_written_into_are_no_constants():
    def split(x):
        first, second = torch.zeros(6).split(3)
        first.add_(x)
        return first + second

    assert_same(split, [])


def test_random_numbers_are_drawn_again():
    program, _ = recorded(lambda x: x + torch.rand(3), torch.zeros(3))
    assert not torch.equal(program(torch.zeros(3)), program(torch.zeros(3)))
