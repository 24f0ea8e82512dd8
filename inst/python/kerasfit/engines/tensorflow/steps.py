"""Compiles a model's steps as TensorFlow functions: single steps, and loops over many batches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kerasfit import keras_private, layer_traits
from kerasfit.arguments import unpack
from kerasfit.engines.attributes import Attributes
from kerasfit.engines.engine import logs_are_metrics
from kerasfit.engines.kernels import tensorflow_kernels
from kerasfit.engines.tensorflow.fused_optimizers import fused_updates
from kerasfit.engines.tensorflow.programs import BoundProgram, SharedPrograms, function
from kerasfit.engines.tensorflow.python_calls import calls_python, copy_of
from kerasfit.engines.tensorflow.rows import (
    is_dense,
    rows_of_all,
    rows_signature,
    sized_batch,
    types,
)
from kerasfit.tensors import pack_batch, with_leaves

MAX_PASSES = 16  # at most this many passes in one call

Function = Any  # a tf.function or a concrete function; TensorFlow has no public type for them


class XlaLoop(NamedTuple):
    """Options of a loop over batches of one size: whether XLA compiles the loop or only its steps."""

    size: int
    around_loop: bool


class EpochLoop(NamedTuple):
    """Options of a loop of XLA's over passes: the batch size, and the rows in the smaller last batch."""

    size: int
    rest: int


class Steps:
    """One kind of step ("train", "test" or "predict") of a model, as compiled functions.

    As in Keras, a step is traced once for batches of all sizes, with the first dimension unknown. So the
    smaller last batch of an epoch, or another ``batch_size``, needs no new trace, and code that depends on a
    batch's static shape (such as the per-output losses among Keras's metrics) behaves as in Keras. Loops call
    this trace. Only XLA needs a trace for each batch size, and a stateful network has only one batch size.

    Parameters
    ----------
    step
        The model's ``train_step``, ``test_step`` or ``predict_step``.
    fuse
        Whether the optimizer may update a variable by a fused kernel with the same result.
    kernels
        Whether kerasfit's kernels may replace functions of layers in steps that XLA compiles.
    """

    def __init__(self, model: keras.Model, kind: str, step: Callable, *, fuse: bool, kernels: bool):
        self.model = model
        self.kind = kind
        self.traces = 0
        self.has_run = False  # by XLA, which therefore can compile it
        self._step = step
        self._fuse = fuse
        self._kernels = kernels
        self._size = layer_traits.stateful_batch_size(model)
        self._attributes: Attributes | None = None  # as they were when the step was first traced
        self._functions: dict[Any, Function] = {}
        self._programs: dict[Any, BoundProgram] = {}
        self._shared = SharedPrograms.of(model, kind, fuse, kernels)

    def __call__(self, data: Any) -> Any:
        """Run one step, compiled by XLA if the model has ``jit_compile``, or not compiled at all."""
        if self.model.run_eagerly:
            return self._step(data)
        xla = self.model.jit_compile
        if not is_dense(data):
            return self._function(data, xla=xla)(data)
        spec = sized_batch(data, self._size)
        step = self._program(("step", xla, *types(spec)), lambda: self._function(spec, xla=xla))
        return step(data)

    def over_rows(
        self, data: Any, *, shuffled: bool, xla: XlaLoop | None, rest: bool, halting: bool
    ) -> BoundProgram:
        """A loop over batches of rows, as a function of tensors, order and [start, stop, batch size, reset].

        The tensors are those of ``data`` without None, with samples along the first axis. If ``shuffled``,
        the order has the numbers of all rows in the order of this pass. If ``reset``, the metrics are reset
        first. The loop returns the number of steps, and the metrics or the last logs; for "predict" the
        joined outputs of all batches. If ``halting``, it stops after a step that makes the loss infinite or
        NaN. With ``xla``, XLA compiles it for whole batches; if there may be a ``rest``, a last batch with
        fewer rows, the graph runs that one.
        """
        spec = sized_batch(data, self._size)
        key = ("rows", shuffled, xla, rest, halting, *types(spec))

        def trace() -> Function:
            if xla and rest:
                return function(self._whole_and_rest(spec, shuffled, xla, halting), rows_signature(spec))
            return self._rows_function(spec, shuffled, xla, halting)

        return self._program(key, trace)

    def _program(self, key: tuple, trace: Callable[[], Function]) -> BoundProgram:
        """The program with this key, traced for this model or for another one that computes the same."""
        if key not in self._programs:
            self._programs[key] = self._shared.bound(key, self.model, trace)
            self._attributes = self._attributes or Attributes(self.model)
        return self._programs[key]

    def forget_shared_programs(self) -> None:
        """Make other models trace programs of their own: TensorFlow does not compile a function again."""
        self._shared.programs.clear()

    def _rows_function(self, spec: Any, shuffled: bool, xla: XlaLoop | None, halting: bool) -> Function:
        key = ("whole", shuffled, xla, halting, *types(spec))
        if key not in self._functions:
            self._functions[key] = function(
                self._rows_loop(spec, shuffled, xla, halting),
                rows_signature(spec),
                jit_compile=bool(xla and xla.around_loop),
            )
        return self._functions[key]

    def _whole_and_rest(self, spec: Any, shuffled: bool, xla: XlaLoop, halting: bool) -> Callable:
        whole_batches = self._rows_function(spec, shuffled, xla, halting)
        step = self._concrete(spec)

        def loop(leaves: list, order: Any, bounds: Any) -> tuple:
            start, stop, batch_size, reset = tf.unstack(bounds)
            cut = stop - (stop - start) % batch_size
            number, logs = whole_batches(leaves, order, tf.stack([start, cut, batch_size, reset]))

            def rest() -> tuple:
                rows = rows_of_all(leaves, order if shuffled else None, cut, stop, self._size)
                return number + 1, self._finish(self._carry((), step(with_leaves(spec, rows)), number))

            reached = start + tf.cast(number, tf.int64) * batch_size
            continues = self._continues(tf.logical_and(reached == cut, cut < stop), logs, halting)
            return tf.cond(continues, rest, lambda: (number, logs))

        return loop

    def _rows_loop(self, spec: Any, shuffled: bool, xla: XlaLoop | None, halting: bool) -> Callable:
        size = xla.size if xla else self._size
        # Traced before the reset, which must include the metrics that tracing creates.
        step = self._concrete(sized_batch(spec, size), xla=bool(xla))

        def loop(leaves: list, order: Any, bounds: Any) -> tuple:
            start, stop, batch_size, reset = tf.unstack(bounds)
            self._reset_if(reset)

            def rows(at: Any, end: Any) -> Any:
                return with_leaves(spec, rows_of_all(leaves, order if shuffled else None, at, end, size))

            number, _, carried = self._over_batches(step, rows, start, stop, batch_size, halting)
            return number, self._finish(carried)

        return loop

    def _over_batches(
        self, step: Function, rows: Callable, start: Any, stop: Any, batch_size: Any, halting: bool
    ) -> tuple:
        """Run a step on all batches from ``start`` to ``stop``.

        Returns the number of steps run, the row where they ended, and the carried values. The first row of a
        batch is a loop variable, or XLA would compile a program for each value, as a constant.
        """

        def body(number: Any, at: Any, carried: Any) -> Any:
            end = tf.minimum(at + batch_size, stop)
            return number + 1, end, self._carry(carried, step(rows(at, end)), number)

        steps = tf.cast((stop - start + batch_size - 1) // batch_size, tf.int32)
        return tf.while_loop(
            lambda number, at, carried: self._continues(at < stop, carried, halting),
            body,
            (tf.constant(0), start, self._carried(step.structured_outputs, steps)),
            parallel_iterations=1,
        )

    def over_passes(self, data: Any, kind: EpochLoop, *, shuffled: bool, halting: bool) -> BoundProgram:
        """A loop of XLA's over passes, as a function of tensors, orders and [start, stop, reset, passes].

        It is ``over_rows`` for data of few batches, where a call takes longer than the steps. It runs up to
        ``MAX_PASSES`` passes, with their smaller last batches. The orders of ``MAX_PASSES`` passes are
        concatenated, even if fewer are run. The loop returns the number of steps of the last pass, its
        metrics, and the metrics of each pass.
        """
        spec = sized_batch(data, self._size)
        key = ("passes", kind, shuffled, halting, *types(spec))
        return self._program(
            key,
            lambda: function(
                self._passes_loop(spec, kind, shuffled, halting), rows_signature(spec), jit_compile=True
            ),
        )

    def _passes_loop(self, spec: Any, kind: EpochLoop, shuffled: bool, halting: bool) -> Callable:
        whole, rest = (self._concrete(sized_batch(spec, size), xla=True) if size else None for size in kind)

        def loop(leaves: list, orders: Any, bounds: Any) -> tuple:
            start, stop, reset, passes = tf.unstack(bounds)
            cut = stop - (stop - start) % kind.size

            def one_pass(number: Any, _: Any, kept: list) -> tuple:
                self._reset_if(reset)
                order = None
                if shuffled:
                    samples = tf.shape(leaves[0], tf.int64)[0]
                    order = tf.slice(orders, [tf.cast(number, tf.int64) * samples], [samples])

                done, at = 0, start
                for step, size, end in ((whole, kind.size, cut), (rest, kind.rest, stop)):
                    if step:

                        def rows(at: Any, end: Any, size: int = size) -> Any:
                            return with_leaves(spec, rows_of_all(leaves, order, at, end, size))

                        steps, at, _ = self._over_batches(step, rows, at, end, size, halting)
                        done += steps
                logs = tf.nest.flatten(self.model.get_metrics_result())
                return number + 1, done, [a.write(number, log) for a, log in zip(kept, logs, strict=True)]

            like = self.model.get_metrics_result()
            kept = [
                tf.TensorArray(log.dtype, MAX_PASSES, element_shape=log.shape)
                for log in tf.nest.flatten(like)
            ]
            _, done, kept = tf.while_loop(
                lambda number, *_: number < tf.cast(passes, tf.int32),
                one_pass,
                (tf.constant(0), tf.constant(0), kept),
                parallel_iterations=1,
            )
            of_each = tf.nest.pack_sequence_as(like, [array.stack() for array in kept])
            return done, self.model.get_metrics_result(), of_each

        return loop

    def over_elements(self, element_spec: Any, *, halting: bool) -> BoundProgram:
        """A loop over a dataset, as a function of its iterator, the next element's optional, [steps, reset].

        It returns the number of steps run, the next element's optional if these are fewer than ``steps``, and
        the metrics or the last logs.
        """
        return self._program(
            ("elements", halting, *types(element_spec)),
            lambda: function(
                self._elements_loop(element_spec, halting),
                [
                    tf.data.IteratorSpec(element_spec),
                    tf.OptionalSpec(element_spec),
                    tf.TensorSpec([2], tf.int64),
                ],
            ),
        )

    def _elements_loop(self, element_spec: Any, halting: bool) -> Callable:
        def loop(iterator: Any, ahead: Any, bounds: Any) -> Any:
            steps, reset = tf.unstack(bounds)
            step = self._concrete(pack_batch(unpack(element_spec)))
            self._reset_if(reset)

            def next_unless_last(number: Any) -> Any:
                return tf.cond(
                    number < steps,
                    iterator.get_next_as_optional,
                    lambda: tf.experimental.Optional.empty(element_spec),
                )

            def body(number: Any, element: Any, carried: Any) -> Any:
                logs = step(pack_batch(unpack(element.get_value())))
                return number + 1, next_unless_last(number + 1), self._carry(carried, logs, number)

            number, element, carried = tf.while_loop(
                lambda number, element, carried: self._continues(
                    tf.logical_and(number < steps, element.has_value()), carried, halting
                ),
                body,
                (tf.zeros((), tf.int64), ahead, self._carried(step.structured_outputs, None)),
                parallel_iterations=1,
            )
            return number, element, self._finish(carried)

        return loop

    def outputs_join(self, data: Any) -> bool:
        """Whether the outputs of batches can be joined: all but their first dimensions are known."""
        spec = sized_batch(data, self._size)
        known = self._shared.joins
        if (key := types(spec)) in known:
            return known[key]
        outputs = keras.tree.flatten(self._concrete(spec).structured_outputs)
        joins = all(
            isinstance(output, tf.Tensor) and output.shape.rank and output.shape[1:].is_fully_defined()
            for output in outputs
        )
        if self._shared.serve(self.model):
            known[key] = joins
        return joins

    # ---- one step ------------------------------------------------------------------------------------

    def _function(self, spec: Any, *, xla: bool = False) -> Function:
        """The compiled step for data of these types and shapes; for all data if some are sparse."""
        dense = is_dense(spec)
        key = ("step", xla, *(types(spec) if dense else ()))
        if key not in self._functions:
            self._functions[key] = self._traced(spec, xla=xla) if dense else self._untraced(xla=xla)
            self._attributes = self._attributes or Attributes(self.model)
        return self._functions[key]

    @property
    def is_up_to_date(self) -> bool:
        """Whether the attributes of the model's parts are unchanged since the first trace (if any)."""
        return self._attributes is None or self._attributes.are_unchanged()

    def _traced(self, spec: Any, *, xla: bool) -> Function:
        """The step, traced with kernels, or without kernels if that fails.

        The unfinished graph of a failed trace is discarded: it contains the updates made before the error.
        """
        if self._fuse or (self._kernels and xla):
            with suppress(Exception):
                return self._traced_with(spec, xla=xla, fuse=self._fuse, kernels=self._kernels)
        step = self._traced_with(spec, xla=xla, fuse=False, kernels=False)
        self._fuse = self._kernels = False
        return step

    def _traced_with(self, spec: Any, *, xla: bool, **options: bool) -> Function:
        def trace(*, copies: bool) -> tuple[Function, Function]:
            python = functools.partial(self._traced_step, xla=xla, copies=copies, **options)
            step = function(python, [spec], jit_compile=xla)
            return step, step.get_concrete_function(spec)

        step, graph = trace(copies=False)
        if not xla and not keras_private.consists_of_keras(self.model) and calls_python(graph):
            step, _ = trace(copies=True)
        return step

    def _untraced(self, *, xla: bool) -> Function:
        """The step for data that may be sparse, traced when it is called, without kernels for layers."""
        copies = not (xla or keras_private.consists_of_keras(self.model))
        python = functools.partial(self._traced_step, xla=xla, copies=copies, fuse=self._fuse, kernels=False)
        return function(python, jit_compile=xla)  # without a signature, dimensions that vary are relaxed

    def _traced_step(self, data: Any, *, xla: bool, copies: bool, fuse: bool, kernels: bool) -> Any:
        """The step as it is traced. With ``copies``, it gets copies of the data.

        A graph that calls Python could otherwise write into the user's arrays.
        """
        self.traces += 1
        if copies:
            data = keras.tree.map_structure(copy_of, data)
        with ExitStack() as block:
            block.enter_context(fused_updates(self.model.optimizer if fuse else None))
            if xla:
                block.enter_context(keras_private.unknown_batch_size(self.model))
            if xla and kernels:
                block.enter_context(tensorflow_kernels())
            return self._step(data)

    def _concrete(self, spec: Any, *, xla: bool = False) -> Function:
        return self._function(spec, xla=xla).get_concrete_function(spec)

    # ---- values that a loop carries from step to step --------------------------------------------------

    def _reset_if(self, reset: Any) -> None:
        if self.kind != "predict":
            tf.cond(reset > 0, lambda: (self.model.reset_metrics(), tf.no_op())[1], tf.no_op)

    def _carried(self, outputs: Any, steps: Any) -> Any:
        """Initial values: none if logs equal the metrics, else the last logs; for "predict" all outputs."""
        if self.kind == "predict":
            return [
                tf.TensorArray(output.dtype, steps, element_shape=output.shape, infer_shape=False)
                for output in keras.tree.flatten(outputs)
            ]
        if logs_are_metrics(self.model, self.kind):
            return ()
        return keras.tree.map_structure(lambda log: tf.zeros(log.shape, log.dtype), outputs)

    def _carry(self, carried: Any, outputs: Any, number: Any) -> Any:
        if self.kind == "predict":
            self._structure = outputs
            leaves = keras.tree.flatten(outputs)
            return [array.write(number, leaf) for array, leaf in zip(carried, leaves, strict=True)]
        return () if logs_are_metrics(self.model, self.kind) else outputs

    def _continues(self, more: Any, carried: Any, halting: bool) -> Any:
        if not halting:
            return more
        loss = (carried or self.model.get_metrics_result()).get("loss", tf.zeros(()))
        return tf.logical_and(more, tf.math.is_finite(loss))

    def _finish(self, carried: Any) -> Any:
        if self.kind == "predict":
            return keras.tree.pack_sequence_as(self._structure, [array.concat() for array in carried])
        return carried or self.model.get_metrics_result()
