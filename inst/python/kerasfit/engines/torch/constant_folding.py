"""Computes operations on constants once, instead of in each replay of a recording."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

ATEN = torch.ops.aten
OPERATION = type(ATEN.detach.default)
VALUE = "value"  # the key in a node's meta, if its value is known
LARGEST = 2**20  # bytes of a constant

# operations whose result depends only on the shape and type of their first argument
SAME_FOR_ALL_VALUES = {
    ATEN.ones_like.default,
    ATEN.zeros_like.default,
    ATEN.full_like.default,
    ATEN.new_zeros.default,
    ATEN.new_ones.default,
    ATEN.new_full.default,
}


def fold_constants(graph: Graph, constants: torch.nn.Module) -> None:
    """Replace operations of a graph by their results, if all inputs are constants or the value is known.

    ``constants`` holds the constants as buffers, and gets the results. What an operation writes into is no
    constant, nor is what shares its memory, or a random number.
    """
    changed = written_nodes(graph)
    values: dict[Node, torch.Tensor] = {}
    for node in list(graph.nodes):
        if node in changed:
            continue
        if node.op == "get_attr":
            values[node] = getattr(constants, node.target)
        elif VALUE in node.meta or (is_pure(node) and all(one in values for one in node.all_input_nodes)):
            if (value := node.meta.get(VALUE)) is None:
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                value = node.target(*args, **kwargs)
            if isinstance(value, torch.Tensor) and value.nbytes <= LARGEST:
                name = f"folded_{len(values)}"
                constants.register_buffer(name, value.detach())
                with graph.inserting_before(node):
                    constant = graph.get_attr(name)
                values[constant] = value
                node.replace_all_uses_with(constant)
                graph.erase_node(node)


def is_pure(node: Node) -> bool:
    """Whether a node is one of PyTorch's operations whose result depends only on its inputs."""
    func = node.target
    return (
        isinstance(func, OPERATION)
        and not func._schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in func.tags
    )


def written_nodes(graph: Graph) -> set[Node]:
    """The nodes whose memory an operation of the graph writes into."""
    written: set[Node] = set()
    for node in reversed(graph.nodes):
        if not isinstance(func := node.target, OPERATION):
            if node in written:  # a part of what an operation returned
                written.update(node.all_input_nodes)
            continue
        arguments = func._schema.arguments
        given = dict(zip((argument.name for argument in arguments), node.args, strict=False)) | node.kwargs
        for argument in arguments:
            alias = argument.alias_info
            if alias is not None and (alias.is_write or node in written):
                written.update(nodes_in(given.get(argument.name)))
    return written


def nodes_in(value: Any) -> list[Node]:
    found: list[Node] = []
    torch.fx.node.map_arg(value, found.append)
    return found
