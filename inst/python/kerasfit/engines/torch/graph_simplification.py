"""Removes operations from a recording whose results other operations give exactly, bit for bit.

Differentiation and Keras's metrics make many of them: on small models, each costs as much as the computation
of a layer.
"""

from __future__ import annotations

import torch
from torch.fx import Graph, Node

from kerasfit.engines.torch.constant_folding import OPERATION, written_nodes
from kerasfit.engines.torch.python_functions import PYTHON

ATEN = torch.ops.aten
SHAPE_AND_DTYPE = "shape_and_dtype"  # the key in a node's meta, if its result is a tensor

# operations with a result of the same values if their second argument is 1
UNCHANGED_BY_ONE = {ATEN.pow.Tensor_Scalar, ATEN.mul.Scalar, ATEN.div.Scalar}
IN_PLACE = {
    ATEN.add.Tensor: ATEN.add_.Tensor,
    ATEN.sub.Tensor: ATEN.sub_.Tensor,
    ATEN.mul.Tensor: ATEN.mul_.Tensor,
    ATEN.div.Tensor: ATEN.div_.Tensor,
}


def simplify(graph: Graph) -> None:
    """Replace operations by fewer ones with the same results. Unused ones are left for removal."""
    written = written_nodes(graph)
    for node in list(graph.nodes):
        if node.target in UNCHANGED_BY_ONE:
            use_argument(node, written)
        elif node.target is ATEN.view.default:
            use_sum_without_kept_dimensions(node)
        elif node.target is ATEN.copy_.default:
            use_operation_in_place(node)


def use_argument(node: Node, written: set[Node]) -> None:
    """Use x instead of x * 1, x / 1 or x ** 1, if nothing writes into the memory of either."""
    x, number = node.args[:2]
    if number == 1 and are_alike(x, node) and is_new(x) and not {node, x} & written:
        node.replace_all_uses_with(x)


def use_sum_without_kept_dimensions(view: Node) -> None:
    """Sum to the shape of a view, instead of keeping summed dimensions that the view removes."""
    total, shape = view.args
    if total.target is not ATEN.sum.dim_IntList or len(total.users) > 1 or len(total.args) != 3:
        return
    x, dims, keeps = total.args
    before = shape_and_dtype(x)[0]
    if not before:  # a scalar
        return
    summed = {dim % len(before) for dim in dims}
    if keeps and list(shape) == [size for dim, size in enumerate(before) if dim not in summed]:
        total.args = (x, dims)
        total.meta[SHAPE_AND_DTYPE] = view.meta[SHAPE_AND_DTYPE]
        view.replace_all_uses_with(total)


def use_operation_in_place(copy: Node) -> None:
    """Change x in place, instead of copying the result of an operation on x to x."""
    x, result = copy.args[:2]
    if result.target not in IN_PLACE or result.next is not copy or len(result.users) > 1:
        return
    left, right = result.args[:2]
    may_share_memory = not isinstance(right, Node) or not (right.op == "get_attr" or is_new(right))
    if left is not x or may_share_memory or not are_alike(x, result):
        return
    result.target = IN_PLACE[result.target]
    result.meta[PYTHON] = result.target.name().rpartition("::")[2].partition(".")[0]
    copy.replace_all_uses_with(result)
    copy.graph.erase_node(copy)


def shape_and_dtype(node: Node) -> tuple:
    return node.meta.get(SHAPE_AND_DTYPE, ((), None))


def are_alike(node: Node, other: Node) -> bool:
    """Whether the results of two nodes are tensors of the same shape and type."""
    return SHAPE_AND_DTYPE in node.meta and shape_and_dtype(node) == shape_and_dtype(other)


def is_new(node: Node) -> bool:
    """Whether the result of a node has memory of its own."""
    returns = node.target._schema.returns if isinstance(node.target, OPERATION) else ()
    return bool(returns) and all(result.alias_info is None for result in returns)
