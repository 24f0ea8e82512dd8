"""Functions as the operations of PyTorch that they come to: recorded, then replayed without Keras."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from kerasfit.variables import all_variables

Tensors = list[torch.Tensor]
ATEN = torch.ops.aten
SAME = (ATEN.detach.default, ATEN.alias.default)  # what they give is what they are given, but for derivatives
READS_A_VALUE = (ATEN._local_scalar_dense.default, ATEN.equal.default)
LEAVES_TORCH = (
    torch.Tensor.numpy,
    torch.Tensor.tolist,
    torch.Tensor.__array__,
    torch.Tensor.__dlpack__,
    torch.Tensor.data_ptr,
)


class Recorded:
    """A function of data that changes a model's variables, recorded for each shape of data.

    What layers, differentiation, optimizer and metrics do in Python, they do in two more calls only: one is
    recorded, the next runs both ways. If then not all variables and outputs are the same, bit for bit, or
    if Python looks at the value of a tensor, the function stays what it is.

    Parameters
    ----------
    model
        One that consists of Keras's own parts, which compute and do nothing else.
    function
        Returns tensors, nested, or None.
    after
        So many calls with a shape of data pass before one is recorded, which takes time. That changes nothing
        of what is computed.
    """

    def __init__(self, model: keras.Model, function: Callable[[Any], Any], after: int = 0):
        self.model = model
        self._function = function
        self._after = after
        self._calls: Counter[tuple] = Counter()
        self._recordings: dict[tuple, Recording | None] = {}

    def __call__(self, data: Any) -> Any:
        leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
        key = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in self._recordings:
            if self._calls[key] < self._after:
                self._calls[key] += 1
                return self._function(data)
            outputs, self._recordings[key] = self._record(data, leaves)
            return outputs
        recording = self._recordings[key]
        if recording is None:
            return self._function(data)
        if recording.is_verified:
            return recording.replay(leaves)
        return self._verify(recording, data, leaves)

    @property
    def replays(self) -> bool:
        """Whether there is data that calls need no Python for."""
        return any(recording and recording.is_verified for recording in self._recordings.values())

    def _record(self, data: Any, leaves: Tensors) -> tuple[Any, Recording | None]:
        variables = all_variables(self.model)
        before = State(variables)
        try:
            with StayingInTorch(), Recorder([*(v.value for v in variables), *leaves]) as recorder:
                outputs = self._function(data)
            return outputs, Recording(variables, recorder, outputs)
        except NotRecordable:
            before.restore()
            return self._function(data), None
        except BaseException:
            before.restore()
            raise

    def _verify(self, recording: Recording, data: Any, leaves: Tensors) -> Any:
        """Run the function itself and the recording, and see whether they do the same."""
        before = State(recording.variables)
        replayed = recording.replay(leaves), State(recording.variables)
        before.restore()
        outputs = self._function(data)
        recording.is_verified = same(replayed[0], outputs) and replayed[1].equals(State(recording.variables))
        if not recording.is_verified:
            self._recordings = dict.fromkeys(self._recordings)
        return outputs


class Recording:
    """Operations of PyTorch as a function of the data's tensors, which changes variables."""

    def __init__(self, variables: list[keras.Variable], recorder: Recorder, outputs: Any):
        self.variables = variables
        self.is_verified = False
        self._structure = outputs
        self._program = recorder.program(tensors_in(outputs))

    @torch.no_grad()
    def replay(self, leaves: Tensors) -> Any:
        outputs = self._program(*(variable.value for variable in self.variables), *leaves)
        return keras.tree.pack_sequence_as(self._structure, outputs) if outputs else None


class State:
    """Values of variables and PyTorch's random state."""

    def __init__(self, variables: list[keras.Variable]):
        self.variables = variables
        self.values = [variable.value.detach().clone() for variable in variables]
        self.random = torch.get_rng_state()

    def restore(self) -> None:
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(value)
        torch.set_rng_state(self.random)

    def equals(self, other: State) -> bool:
        return same([*self.values, self.random], [*other.values, other.random])


def same(a: Any, b: Any) -> bool:
    """Whether tensors are the same, bit for bit."""
    pairs = zip(tensors_in(a), tensors_in(b), strict=True)
    return all(torch.allclose(one, other, rtol=0, atol=0, equal_nan=True) for one, other in pairs)


class NotRecordable(Exception):
    """What is computed depends on something that a recording does not have."""


class StayingInTorch(TorchFunctionMode):
    """Lets no value of a tensor be computed with elsewhere, which a recording would take for a constant.

    A run on other data would show that; but data may be the same each time, as those to validate on are.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in LEAVES_TORCH:
            raise NotRecordable(str(func))
        return func(*args, **(kwargs or {}))


class Recorder(TorchDispatchMode):
    """Records the operations of PyTorch that run while it is the mode, those of differentiation too."""

    def __init__(self, inputs: Tensors):
        super().__init__()
        self._graph = torch.fx.Graph()
        self._constants = torch.nn.Module()
        self._nodes = WeakIdKeyDictionary()  # gradients are copied if somebody else holds them
        for number, tensor in enumerate(inputs):
            self._name(tensor, self._graph.placeholder(f"input_{number}"))

    def program(self, outputs: Tensors) -> Callable[..., tuple]:
        """What has been recorded, as a function of the inputs that returns the tensors given."""
        self._graph.output(tuple(self._node(output) for output in outputs))
        self._graph.eliminate_dead_code()
        program = torch.fx.GraphModule(self._constants, self._graph)
        return program.forward

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in READS_A_VALUE or torch.Tag.dynamic_output_shape in func.tags or kwargs.get("generator"):
            raise NotRecordable(str(func))
        written = [
            arg
            for arg, parameter in zip(args, func._schema.arguments, strict=False)
            if parameter.alias_info is not None and parameter.alias_info.is_write
        ]
        if any(tensor not in self._nodes for tensor in tensors_in(written)):
            raise NotRecordable(f"{func} changes a tensor that is not an input")
        inputs = torch.utils._pytree.tree_map_only(torch.Tensor, self._node, (args, kwargs))
        outputs = func(*args, **kwargs)
        if func in SAME:
            self._name(outputs, inputs[0][0])
            return outputs
        if func is ATEN.lift_fresh.default:  # of a constant, which a replay must not change
            func = ATEN.lift_fresh_copy.default
        if func is ATEN.mkldnn_rnn_layer.default and torch.is_grad_enabled():
            func = rnn_layer_for_gradients
        node = self._graph.call_function(func, *inputs)
        if isinstance(outputs, torch.Tensor):
            self._name(outputs, node)
        elif isinstance(outputs, (list, tuple)):
            for number, output in enumerate(outputs):
                if isinstance(output, torch.Tensor):
                    self._name(output, self._graph.call_function(operator.getitem, (node, number)))
        return outputs

    def _name(self, tensor: torch.Tensor, node: torch.fx.Node) -> None:
        self._nodes.setdefault(tensor, node)

    def _node(self, tensor: torch.Tensor) -> torch.fx.Node:
        if tensor not in self._nodes:
            name = f"constant_{len(list(self._constants.buffers()))}"
            self._constants.register_buffer(name, tensor.detach())
            self._name(tensor, self._graph.get_attr(name))
        return self._nodes[tensor]


def rnn_layer_for_gradients(*args: Any) -> tuple:
    """PyTorch's operation with what its gradients want, which it keeps only while differentiation is on."""
    with torch.enable_grad():
        args = (arg.detach() if isinstance(arg, torch.Tensor) else arg for arg in args)
        return ATEN.mkldnn_rnn_layer.default(*args)


def tensors_in(value: Any) -> Tensors:
    return [leaf for leaf in keras.tree.flatten(value) if isinstance(leaf, torch.Tensor)]
