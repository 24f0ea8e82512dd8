"""Finds PyTorch's Python functions for its operations.

``torch.add`` is called in half the time of ``torch.ops.aten.add.Tensor``, because PyTorch's Python functions
parse their arguments in generated code. They choose the operation by the types of the arguments, so it is
tried with arguments of these types which operation a function calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kerasfit.engines.torch.constant_folding import OPERATION

# A function, or the name of a method of its first argument.
PythonFunction = Callable | str

PYTHON = "python"  # the key in a node's meta

_found: dict[tuple, PythonFunction | None] = {}


def python_function(operation: Any, args: tuple, kwargs: dict[str, Any]) -> PythonFunction | None:
    """Return the function of PyTorch that calls just this operation for such arguments; None if none does."""
    if not isinstance(operation, OPERATION):
        return None
    types = tuple(map(type, tree_leaves((args, kwargs), is_leaf=is_none)))
    key = operation, len(args), *kwargs, *types
    if key not in _found:
        _found[key] = next(
            (f for f in candidates(operation, args) if calls(f, operation, args, kwargs)), None
        )
    return _found[key]


def use_python_functions(graph: torch.fx.Graph) -> None:
    """Call Python's functions instead of operations, where they are noted in ``meta`` under ``PYTHON``."""
    for node in graph.nodes:
        if (function := node.meta.get(PYTHON)) is not None:
            node.op = "call_method" if isinstance(function, str) else "call_function"
            node.target = function


def candidates(operation: Any, args: tuple) -> list[PythonFunction]:
    name = operation.name().partition("::")[2].partition(".")[0]
    functions: list[PythonFunction] = [getattr(torch, name)] if callable(getattr(torch, name, None)) else []
    is_method = bool(args) and isinstance(args[0], torch.Tensor) and hasattr(args[0], name)
    return [*functions, name] if is_method else functions


def calls(function: PythonFunction, operation: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a function calls the operation with these arguments. The operation is not executed."""
    try:
        with torch._C.DisableTorchFunction(), torch.no_grad(), FirstOperation():
            if isinstance(function, str):
                getattr(args[0], function)(*args[1:], **kwargs)
            else:
                function(*args, **kwargs)
    except FirstOperation.Called as call:
        return call.operation is operation and is_same((call.args_given, call.kwargs_given), (args, kwargs))
    except Exception:  # it takes other arguments
        return False
    return False


class FirstOperation(TorchDispatchMode):
    """Raises ``Called`` instead of executing the first operation."""

    class Called(Exception):
        def __init__(self, operation: Any, args_given: tuple, kwargs_given: dict[str, Any]):
            self.operation, self.args_given, self.kwargs_given = operation, args_given, kwargs_given

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        raise self.Called(func, args, kwargs or {})


def is_same(a: Any, b: Any) -> bool:
    """Whether two structures of arguments have the same tensors and equal other values."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[name], b[name]) for name in a)
    return type(a) is type(b) and a == b


def is_none(value: Any) -> bool:
    return value is None
