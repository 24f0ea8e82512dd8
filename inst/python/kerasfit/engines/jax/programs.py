"""Compiled programs of steps: single steps and loops, compiled in the background and limited in number."""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ReferenceType, ref

import jax

from kerasfit.devices import on_cpu
from kerasfit.engines.engine import wait_for

if TYPE_CHECKING:
    from kerasfit.engines.jax.steps import Steps

# XLA compiles a program on one core: two threads compile the loop over whole batches and that over the
# smaller last batch at the same time.
COMPILERS = ThreadPoolExecutor(2, thread_name_prefix="kerasfit-compiler")

# The programs of a step are kept for this many shapes of data.
PROGRAMS = 100


class Loop(NamedTuple):
    """Options of a loop over batches of ``size`` rows.

    If ``halting``, it stops after a step that makes the loss infinite or NaN. If ``rare``, it runs only once
    an epoch, and is compiled quickly rather than well.
    """

    size: int
    halting: bool
    rare: bool


class Single(NamedTuple):
    """A single step on a batch of ``size`` rows, which is compiled in the background."""

    size: int


# What a program runs; None is a single step on a batch of any shape.
Kind = Loop | Single | None


class ModelHasChanged(Exception):
    """Raised if a shared program would be traced for a model that no longer has the program's key."""


class Programs:
    """The compiled programs of one kind of step, which may be shared by models with equal keys.

    A program is a function of values alone. It needs a model only while it is traced.

    Attributes
    ----------
    key
        The key of the models that share these programs; None for the programs of a single model.
    traces
        How often the step has been traced.
    kernels
        Whether steps are traced with kerasfit's kernels.
    """

    def __init__(self, key: str | None, *, compiles: bool, kernels: bool):
        self.key = key
        self.compiles = compiles
        self.kernels = kernels
        self.traces = 0
        self._steps: ReferenceType[Steps] | None = None
        self._forget()

    def _forget(self) -> None:
        # New functions each time: JAX keeps the programs of a function, and shares them with equal functions.
        self._functions: dict[Kind, Any] = {}
        self._shapes: set[tuple] = set()
        self._compiling: dict[Kind, Future] = {}
        self._begun: set[tuple] = set()

    def limit(self, shapes: tuple) -> None:
        """Discard all programs before a call with new shapes of data if there are ``PROGRAMS`` of them."""
        if shapes not in self._shapes and len(self._shapes) == PROGRAMS:
            self._forget()
        self._shapes.add(shapes)

    def function(self, kind: Kind, steps: Steps) -> Any:
        """The program of a kind, traced for the model of ``steps`` if needed."""
        self._steps = ref(steps)
        if kind not in self._functions:
            self._functions[kind] = self._compile(kind, steps.shardings())
        if compiling := self._compiling.pop(kind, None):
            wait_for(compiling)
        return self._functions[kind]

    def compile_ahead(self, kind: Loop | Single, steps: Steps, *arguments: Any) -> None:
        """Trace a program and compile it in the background, unless that has been done for these arguments.

        Shapes and types (``jax.ShapeDtypeStruct``) may stand for the arguments.
        """
        call = kind, *((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
        if self.compiles and call not in self._begun:
            lowered = self.function(kind, steps).lower(*arguments)
            self._begun.add(call)
            self._compiling[kind] = COMPILERS.submit(lowered.compile)

    def _compile(self, kind: Kind, shardings: Any) -> Any:
        python = functools.partial(self._traced, kind)
        if not self.compiles:
            return python
        options = compiler_options(isinstance(kind, Loop) and kind.rare)
        return jax.jit(python, donate_argnums=0, out_shardings=shardings, **options)

    def _traced(self, kind: Kind, *arguments: Any) -> Any:
        steps = self._steps and self._steps()
        assert steps
        return steps.traced(kind, *arguments)


@functools.cache
def compiler_options(rare: bool) -> dict[str, dict[str, Any]]:
    """Options of XLA's compiler on CPUs, as keyword arguments of ``jax.jit``.

    The highest level of optimization takes longer, a tenth for an LSTM, but does not make steps faster. A
    rare program is compiled in a third of the time, and may take twice as long to run. It is compiled by one
    thread, because another one compiles the frequent program at the same time.
    """
    options = {"xla_backend_optimization_level": 2}
    if rare:
        options = {
            "xla_backend_optimization_level": 0,
            "xla_cpu_use_fusion_emitters": False,
            "xla_cpu_parallel_codegen_split_count": 1,
        }
    if not on_cpu():
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except (TypeError, RuntimeError):  # these options are not public: other versions may lack them
        return {}
    return {"compiler_options": options}
