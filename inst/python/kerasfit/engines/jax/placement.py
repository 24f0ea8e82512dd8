"""Where the arrays of JAX programs are: on one device, or on several that share the rows of each batch.

On several devices, one program runs on all (SPMD): each computes with its part of a batch, and XLA's
partitioner adds one exchange (all-reduce) of gradients and metrics to each step. A batch whose size is no
multiple of the number of devices is computed on each of them, so that results do not depend on the number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import keras
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from kerasfit.devices import chosen_devices, fits_on_device, on_cpu
from kerasfit.engines.jax.rows import RowsWithin, SplitRows
from kerasfit.runtime.memory import aligned_empty, elements_around, is_aligned
from kerasfit.tensors import aligned_copy, map_leaves, to_backend, to_numpy

SMALL = 2**16  # bytes: numpy copies smaller arrays ten times as fast as JAX
LARGE = 2**20  # bytes: smaller arrays are copied to aligned memory, which needs a simpler program
COPIED = 2**28  # bytes of memory that copies of an array for all devices of a CPU may take


class OneDevice:
    """Arrays are on JAX's default device, or where the model's variables are.

    Attributes
    ----------
    key
        What compiled programs depend on.
    parts
        The number of parts into which the rows of a batch are divided.
    """

    key: tuple = ()
    parts = 1

    def values(self, variables: Sequence[keras.Variable]) -> list[Any]:
        """The values of variables as arguments of a program."""
        return [variable.value for variable in variables]

    def copy(self, value: Any) -> Any:
        """A copy of a value returned by ``values`` or ``put``, which a program may consume."""
        if value.nbytes < SMALL and on_cpu():
            return np.array(value)
        return jax.device_put(value, may_alias=False)

    def put(self, array: np.ndarray) -> Any:
        """An array as an argument of a program."""
        return array

    def for_variable(self, variable: keras.Variable, value: jax.Array) -> jax.Array:
        """A value that a program returned, where the variable is."""
        return value

    def answer(self, values: Any) -> Any:
        """Logs or outputs that a program returned."""
        return values

    def rows(self, leaf: Any) -> Any:
        """Put an array on the device. On CPUs it shares the memory of large or aligned arrays."""
        if not isinstance(leaf, np.ndarray) or not on_cpu():
            return to_backend(leaf)
        if leaf.nbytes >= LARGE and jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype:
            elements, first = elements_around(leaf) or (None, 0)
            if elements is not None and elements.size <= np.iinfo(np.int32).max:
                return RowsWithin(jax.device_put(elements, may_alias=True), np.int32(first), leaf.shape)
        return self.chunk(leaf)

    def chunk(self, leaf: Any) -> Any:
        """Put some rows on the device. On CPUs it shares the memory of aligned arrays."""
        if leaf is None or not on_cpu():
            return to_backend(leaf)
        return jax.device_put(leaf if is_aligned(leaf) else aligned_copy(leaf), may_alias=True)

    def batch(self, data: Any) -> Any:
        """A batch, nested arrays or tensors, as an argument of a program."""
        return data

    def in_program(self, rows: Any) -> Any:
        """The rows of a batch, in a program that is traced."""
        return rows

    def type_of(self, variable: keras.Variable) -> jax.ShapeDtypeStruct:
        """The shape and type of a variable's value as an argument of a program."""
        return jax.ShapeDtypeStruct(variable.shape, variable.value.dtype)

    def type_of_batch(self, leaf: Any, size: int) -> jax.ShapeDtypeStruct:
        """The shape and type of ``batch`` of ``size`` rows of an array."""
        return jax.ShapeDtypeStruct((size, *leaf.shape[1:]), jax.dtypes.canonicalize_dtype(leaf.dtype))

    def shardings(self, variables: Sequence[keras.Variable]) -> Any:
        """Where programs return the new values of variables; None to let JAX choose."""
        return None

    @property
    def everywhere(self) -> Sharding | None:
        """Where programs return logs and outputs; None to let JAX choose."""
        return None


ONE_DEVICE = OneDevice()


class SeveralDevices(OneDevice):
    """The values of variables are copied to all devices, and the rows of a batch are divided among them.

    The variables of the model stay where they are.
    """

    def __init__(self, mesh: Mesh, axis: str):
        self.mesh, self.axis = mesh, axis
        self.parts = mesh.shape[axis]
        self.key = (tuple(mesh.shape.items()), *(device.id for device in mesh.devices.flat))

    @cached_property
    def everywhere(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @cached_property
    def by_rows(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(self.axis))

    def values(self, variables: Sequence[keras.Variable]) -> list[jax.Array]:
        return [jax.device_put(variable.value, self.everywhere) for variable in variables]

    def copy(self, value: Any) -> jax.Array:
        return jax.device_put(value, self.everywhere, may_alias=False)

    def put(self, array: Any) -> jax.Array:
        return jax.device_put(array, self.everywhere)

    def for_variable(self, variable: keras.Variable, value: jax.Array) -> jax.Array:
        return jax.device_put(value.addressable_data(0), variable.value.sharding)

    def answer(self, values: Any) -> Any:
        return jax.tree.map(lambda value: value.addressable_data(0), values)

    def rows(self, leaf: Any) -> Any:
        if leaf is None:
            return None
        array = np.asarray(to_numpy(leaf))
        if self._fits_everywhere(array):
            return self.put(array)
        missing = -len(array) % self.parts
        if missing:
            filled = aligned_empty((len(array) + missing, *array.shape[1:]), array.dtype)
            filled[: len(array)], filled[len(array) :] = array, 0
            array = filled
        return SplitRows(jax.device_put(array, self.by_rows))

    def chunk(self, leaf: Any) -> Any:
        return None if leaf is None else self.put(np.asarray(leaf))

    def batch(self, data: Any) -> Any:
        def put(leaf: Any) -> Any:
            return None if leaf is None else jax.device_put(to_numpy(leaf), self._for_batch(len(leaf)))

        return map_leaves(put, data)

    def in_program(self, rows: Any) -> Any:
        return lax.with_sharding_constraint(rows, self._for_batch(rows.shape[0]))

    def type_of(self, variable: keras.Variable) -> jax.ShapeDtypeStruct:
        (sharding,) = self.shardings([variable])
        return jax.ShapeDtypeStruct(variable.shape, variable.value.dtype, sharding=sharding)

    def type_of_batch(self, leaf: Any, size: int) -> jax.ShapeDtypeStruct:
        plain = super().type_of_batch(leaf, size)
        return jax.ShapeDtypeStruct(plain.shape, plain.dtype, sharding=self._for_batch(size))

    def shardings(self, variables: Sequence[keras.Variable]) -> list[Sharding]:
        return [self.everywhere for _ in variables]

    def _for_batch(self, size: int) -> NamedSharding:
        return self.everywhere if size % self.parts else self.by_rows

    def _fits_everywhere(self, array: np.ndarray) -> bool:
        return array.nbytes * self.mesh.size <= COPIED if on_cpu() else fits_on_device(array.nbytes)


class KerasLayout(SeveralDevices):
    """The values of variables are where a ``keras.distribution`` has put them."""

    def __init__(self, distribution: keras.distribution.Distribution):
        super().__init__(distribution.device_mesh.backend_mesh, distribution.batch_dim_name)
        self._distribution = distribution  # so that no other one gets its id
        self.key = *self.key, id(distribution)

    def values(self, variables: Sequence[keras.Variable]) -> list[jax.Array]:
        return [v.value if self._is_placed(v) else self.put(v.value) for v in variables]

    def copy(self, value: Any) -> jax.Array:
        where = value.sharding if isinstance(value, jax.Array) else self.everywhere
        return jax.device_put(value, where, may_alias=False)

    def for_variable(self, variable: keras.Variable, value: jax.Array) -> jax.Array:
        return value

    def shardings(self, variables: Sequence[keras.Variable]) -> list[Sharding]:
        return [v.value.sharding if self._is_placed(v) else self.everywhere for v in variables]

    def _is_placed(self, variable: keras.Variable) -> bool:
        return variable.value.sharding.device_set == self.everywhere.device_set


def current_placement() -> OneDevice:
    """The placement that the user has chosen, with ``keras.distribution`` or ``use_devices()``."""
    distribution = keras.distribution.distribution()
    if distribution is not None:
        return KerasLayout(distribution)
    devices = chosen_devices()
    return SeveralDevices(Mesh(np.array(devices), ("batch",)), "batch") if devices else ONE_DEVICE
