"""Records the PyTorch operations of a function as a program, with as few of them as give the same results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from kerasfit.engines.torch.constant_folding import SAME_FOR_ALL_VALUES, VALUE, fold_constants
from kerasfit.engines.torch.graph_simplification import SHAPE_AND_DTYPE, simplify
from kerasfit.engines.torch.python_functions import PYTHON, python_function, use_python_functions
from kerasfit.tensors import leaves_of

Tensors = list[torch.Tensor]
ATEN = torch.ops.aten
IDENTITY_OPS = (ATEN.detach.default, ATEN.alias.default)  # they return their input, apart from derivatives
READS_A_VALUE = (ATEN._local_scalar_dense.default, ATEN.equal.default)
LEAVES_TORCH = (
    torch.Tensor.numpy,
    torch.Tensor.tolist,
    torch.Tensor.__array__,
    torch.Tensor.__dlpack__,
    torch.Tensor.data_ptr,
)


class EscapeDetector(TorchFunctionMode):
    """Makes the recorder give up if a tensor's values leave PyTorch, for example to NumPy.

    A recording would have results computed from these values as constants. Verification finds that only if
    the data differ, but validation data, for example, are the same each time.
    """

    def __init__(self, recorder: Recorder):
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in LEAVES_TORCH:
            self._recorder.has_given_up = True
        return func(*args, **(kwargs or {}))


class Recorder(TorchDispatchMode):
    """Records the PyTorch operations that run while this mode is active, including those of differentiation.

    Attributes
    ----------
    has_given_up
        Whether results depend on something that cannot be recorded. The operations still run normally.
    writes_into_data
        Whether an operation has changed a tensor of the data, or a part of one.
    """

    def __init__(self, variables: Tensors, data: Tensors):
        super().__init__()
        self.has_given_up = self.writes_into_data = False
        self._memory_of_data = {memory_of(tensor) for tensor in data}
        self._graph = torch.fx.Graph()
        self._constants = torch.nn.Module()
        self._nodes = WeakIdKeyDictionary()  # weak: PyTorch copies a gradient that is referenced elsewhere
        for number, tensor in enumerate([*variables, *data]):
            self._name(tensor, self._graph.placeholder(f"input_{number}"))

    def program(self, outputs: Tensors) -> Callable[..., tuple]:
        """The recorded operations as a function of the inputs that returns the tensors ``outputs``."""
        self._graph.output(tuple(self._node(output) for output in outputs))
        with torch.no_grad():
            fold_constants(self._graph, self._constants)
        simplify(self._graph)
        self._graph.eliminate_dead_code()
        use_python_functions(self._graph)
        program = torch.fx.GraphModule(self._constants, self._graph)
        vars(program).update(program.named_buffers())  # found faster than in the module's buffers
        return program.forward

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.has_given_up = self.has_given_up or not self._can_record(func, args, kwargs)
        if self.has_given_up:
            return func(*args, **kwargs)
        inputs = torch.utils._pytree.tree_map_only(torch.Tensor, self._node, (args, kwargs))
        outputs = func(*args, **kwargs)
        if func in IDENTITY_OPS:
            self._name(outputs, inputs[0][0])
            return outputs
        if func is ATEN.lift_fresh.default:  # a replay must not change the constant
            func = ATEN.lift_fresh_copy.default
        if func is ATEN.mkldnn_rnn_layer.default and torch.is_grad_enabled():
            func = rnn_layer_for_gradients
        node = self._graph.call_function(func, *inputs)
        node.meta[PYTHON] = python_function(func, args, kwargs)
        if func in SAME_FOR_ALL_VALUES:
            node.meta[VALUE] = outputs.clone()
        if isinstance(outputs, torch.Tensor):
            self._name(outputs, node)
        elif isinstance(outputs, (list, tuple)):
            for number, output in enumerate(outputs):
                if isinstance(output, torch.Tensor):
                    self._name(output, self._graph.call_function(operator.getitem, (node, number)))
        return outputs

    def _can_record(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
        if func in READS_A_VALUE or torch.Tag.dynamic_output_shape in func.tags or kwargs.get("generator"):
            return False
        written = tensors_in(written_by(func, args, kwargs))
        if any(memory_of(tensor) in self._memory_of_data for tensor in written):
            self.writes_into_data = True
        return all(tensor in self._nodes for tensor in written)  # a replay could not change other tensors

    def _name(self, tensor: torch.Tensor, node: torch.fx.Node) -> None:
        self._nodes.setdefault(tensor, node)
        node.meta.setdefault(SHAPE_AND_DTYPE, (tensor.shape, tensor.dtype))

    def _node(self, tensor: torch.Tensor) -> torch.fx.Node:
        if tensor not in self._nodes:
            name = f"constant_{len(list(self._constants.buffers()))}"
            self._constants.register_buffer(name, tensor.detach())
            self._name(tensor, self._graph.get_attr(name))
        return self._nodes[tensor]


def written_by(func: Any, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments of an operation that it writes into."""
    names = [parameter.name for parameter in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    return [
        given[parameter.name]
        for parameter in func._schema.arguments
        if parameter.name in given and parameter.alias_info is not None and parameter.alias_info.is_write
    ]


def memory_of(tensor: torch.Tensor) -> int:
    """A number that identifies a tensor's memory; tensors that share memory have the same number."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def rnn_layer_for_gradients(*args: Any) -> tuple:
    """PyTorch's RNN layer with the values that its gradients need, which it keeps only in grad mode."""
    with torch.enable_grad():
        values = [arg.detach() if isinstance(arg, torch.Tensor) else arg for arg in args]
        return ATEN.mkldnn_rnn_layer.default(*values)


def tensors_in(value: Any) -> Tensors:
    return [leaf for leaf in leaves_of(value) if isinstance(leaf, torch.Tensor)]
