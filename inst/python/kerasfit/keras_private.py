"""Uses of private names of Keras.

The rest of the core uses only public names, so a new Keras release should require changes only here; except
for the attributes that ``engines.bookkeeping`` ignores, and the functions that kernels replace, which
``owner_of`` finds. Each private name is listed in ``PRIVATE_NAMES`` and looked up by ``private()`` or
``module()``, with a fallback for versions of Keras that lack it. The tests of this module check each name of
the table on the installed Keras, and each fallback with the name removed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any

import keras
import numpy as np

from kerasfit.object_origin import package_of
from kerasfit.runtime.variable_names import short_names

# Each private name of Keras that is used, and the effect if it is missing. Names of attributes follow their
# class, and also apply to its subclasses. Modules are in the package keras.src.
PRIVATE_NAMES = {
    "Model._symbolic_build": "variables are created by calling the model on one batch",
    "Model._flatten_layers": "layers are found through the attributes of layers",
    "Model._initial_epoch": "a callback of Keras cannot choose the first epoch",
    "Model._compile_metrics": "steps are not recorded with PyTorch; a model keeps its metrics",
    "CompileMetrics._user_metrics": "steps are not recorded with PyTorch",
    "CompileMetrics._user_weighted_metrics": "steps are not recorded with PyTorch",
    "Model._compile_loss": "with XLA on TensorFlow, the losses of outputs are weighted by batch size",
    "MeanMetricWrapper._fn": "metrics that wrap a function count as the user's",
    "LossFunctionWrapper._fn_kwargs": "changed arguments of a loss go unnoticed when a run is resumed",
    "Layer._inbound_nodes": "batches are not padded with rows; embeddings' inputs are not checked",
    "KerasTensor._keras_history": "no input counts as optional",
    "Model._record_training_state_sharding_spec": "none: only JAX steps before Keras 3.10 need it",
    "Variable._direct_assign": "a value is assigned with Keras's checks",
    "Optimizer._get_variable_index": "updates are not fused with TensorFlow",
    "Optimizer._trainable_variables": "no warning if the trainable weights have changed since compile()",
    "Optimizer._learning_rate": "a schedule is noticed only when the rate cannot be set",
    "Adam._momentums": "updates are not fused with TensorFlow",
    "Adam._velocities": "updates are not fused with TensorFlow",
    "RandomInitializer._init_seed": "seeds that an unbuilt model has chosen are not sent with it",
    "EarlyStopping._set_monitor_op": "Keras chooses the direction of the metric after the first epoch",
    "TensorBoard._should_trace": "the callback counts as profiling, and each step is a separate call",
    "Callback._model": "none: values that are not plain are not stored",
    "backend.torch.ops.core.get_device": "with PyTorch, the device is that of a new tensor",
    "backend.torch.core.get_device": "the same, before Keras 3.16",
    "backend.compute_output_spec": "targets are not compared with outputs, nor weights with losses",
    "backend.common.global_state.get_global_attribute": "the global seed is not stored",
    "backend.common.global_state.set_global_attribute": "the global seed is not restored",
    "random.seed_generator.global_seed_generator": "the global seed is not restored",
    "utils.module_utils.tensorflow": "Keras loads TensorFlow to seed it, and to recognize its objects",
}

# Modules of the backend in which functions are replaced: short name → locations in different Keras versions,
# newest first. A function that is in none of them is not replaced.
BACKEND_MODULES = {
    "nn": ("backend.ops.nn", "backend.nn"),
    "numpy": ("backend.ops.numpy", "backend.numpy"),
    "random": ("backend.random",),
}


def private(owner: Any, name: str, default: Any = None) -> Any:
    """Return an object's attribute of a private name in the table above, or a default if it is missing."""
    assert name in PRIVATE_NAMES
    return getattr(owner, name.rpartition(".")[2], default)


def private_function(name: str) -> Any:
    """Return a function of one of Keras's modules by its name in the table above; None if it is missing."""
    path, _, _ = name.rpartition(".")
    return private(module(path), name)


@cache
def module(path: str) -> Any:
    """Return a module of keras.src, or the backend's module available under that path; None if missing.

    It is not imported: importing keras.src.backend.numpy would make that name another module.
    """
    found = sys.modules.get("keras.src")
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def owner_of(name: str) -> Any:
    """Return the module or class with a function to replace, such as "nn.conv" or "LSTM.inner_loop".

    None if this version of Keras does not have the function.
    """
    place, attribute = name.split(".")
    owners = [module(path) for path in BACKEND_MODULES.get(place, ())] or [getattr(keras.layers, place, None)]
    return next((owner for owner in owners if hasattr(owner, attribute)), None)


def build_state(model: keras.Model, batch: tuple) -> None:
    """Create the variables of model, loss, metrics and optimizer for a batch of this shape.

    After an exception, the next call builds the metrics again, as one of them may lack its variables.
    """
    if build := private(model, "Model._symbolic_build"):
        try:
            with short_names():
                build(data_batch=batch)
        except Exception:
            if metrics := private(model, "Model._compile_metrics"):
                metrics.built = False
            raise
    else:
        build_by_calls(model, batch)


def build_by_calls(model: keras.Model, batch: tuple) -> None:
    """Create the variables with public names only, by calling model, loss and metrics on the batch."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred = model(x, training=False)
    if model.compiled:
        if y is not None:
            model.compute_loss(x, y, y_pred, weights, training=False)
            model.compute_metrics(x, y, y_pred, weights)
        model.reset_metrics()
        if isinstance(model.optimizer, keras.optimizers.Optimizer) and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)


def record_shardings(model: keras.Model) -> None:
    """Record how variables are placed on devices, which JAX steps of older Keras versions require."""
    if record := private(model, "Model._record_training_state_sharding_spec"):
        record()


def output_shapes(model: keras.Model, x: Any) -> list[tuple]:
    """Return the output shapes of a built model for inputs like these; empty if unknown."""
    inputs = keras.tree.map_structure(
        lambda leaf: (
            leaf
            if leaf is None
            else keras.KerasTensor(leaf.shape, keras.backend.standardize_dtype(leaf.dtype))
        ),
        x,
    )
    try:
        outputs = private_function("backend.compute_output_spec")(model, inputs, training=False)
    except Exception:  # a step will raise it again
        return []
    return [output.shape for output in keras.tree.flatten(outputs)]


def shape_of_loss(loss: Any, y: Any, output: Any) -> tuple | None:
    """Return the shape of a loss for a batch before weighting, which weights must have; None if unknown.

    A loss may have a value for each sample, each time step, or each element.
    """
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    shape = tuple(y.shape)
    if len(shape) + 1 == len(output.shape) and output.shape[-1] == 1:
        shape = (*shape, 1)
    target, prediction = (
        keras.KerasTensor((None, *shape[1:]), keras.config.floatx()) for shape in (shape, tuple(output.shape))
    )
    try:
        return tuple(private_function("backend.compute_output_spec")(function, target, prediction).shape)
    except Exception:  # a step will raise it again
        return None


def choose_direction(callback: keras.callbacks.Callback) -> None:
    """Make a callback decide now whether to minimize or maximize its metric.

    Keras does this at the end of the first epoch, and may change the sign of ``min_delta``: in a resumed run,
    for the second time.
    """
    choose = private(callback, "EarlyStopping._set_monitor_op")
    if choose and getattr(callback, "monitor_op", None) is None:
        with suppress(ValueError):  # Keras raises it again at the end of the epoch
            choose()


def loss_arguments(loss: Any) -> dict[str, Any] | None:
    """Return the arguments of one of Keras's losses, some of which its configuration lacks."""
    return private(loss, "LossFunctionWrapper._fn_kwargs")


def restored_epoch(model: keras.Model) -> int | None:
    """Return the 1-based epoch at which Keras's ``BackupAndRestore`` resumes training, if any."""
    epoch = private(model, "Model._initial_epoch")
    return epoch + 1 if epoch else None


def torch_device() -> str:
    """Return the name of the device on which Keras computes with PyTorch, for example "cuda:0"."""
    for name in ("backend.torch.ops.core.get_device", "backend.torch.core.get_device"):
        if get := private_function(name):
            return str(get())
    return str(keras.ops.zeros(1).device)


SEED = "global_seed_generator"  # Keras 3.9 has no constant for it


def global_seed() -> keras.Variable | None:
    """Return the state of Keras's global generator, used for random numbers without their own seed.

    None if it does not exist yet: Keras creates it at first use.
    """
    get = private_function("backend.common.global_state.get_global_attribute")
    generator = get(SEED) if get else None
    return None if generator is None else generator.state


def set_global_seed(value: Any) -> None:
    """Set the state of Keras's global generator; with None, Keras creates it again at the next use."""
    make = private_function("random.seed_generator.global_seed_generator")
    forget = private_function("backend.common.global_state.set_global_attribute")
    if value is None and forget:
        forget(SEED, None)
    elif value is not None and make:
        make().state.assign(value)


@contextmanager
def without_loading_tensorflow() -> Iterator[None]:
    """Keep Keras from loading TensorFlow in the block if it is not loaded, which takes seconds.

    With any backend, Keras loads it to set its seed, and to recognize its objects when it saves a model.
    If it is not loaded, no object is one of them.
    """
    lazy = private_function("utils.module_utils.tensorflow")
    if "tensorflow" in sys.modules or lazy is None or vars(lazy).get("_available", True) is not None:
        yield
        return
    lazy._available = False
    try:
        yield
    finally:
        lazy._available = None


def max_epochs() -> int | None:
    """Return the limit of epochs from ``keras.config.set_max_epochs()``. Keras 3.9 has none."""
    return getattr(keras.config, "max_epochs", lambda: None)()


def max_steps_per_epoch() -> int | None:
    """Return the limit of steps from ``keras.config.set_max_steps_per_epoch()``. Keras 3.9 has none."""
    return getattr(keras.config, "max_steps_per_epoch", lambda: None)()


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return all layers of a model, including those inside other layers."""
    if flatten := private(model, "Model._flatten_layers"):
        return list(flatten())
    return list(layers_within(model, {}))


def layers_within(part: Any, seen: dict[int, Any]) -> Iterator[keras.layers.Layer]:
    """Yield a layer and those in its attributes, also in lists and dicts, except those in ``seen``."""
    if id(part) in seen:
        return
    seen[id(part)] = part
    inside: Any = ()
    if isinstance(part, keras.layers.Layer):
        yield part
        inside = [*getattr(part, "layers", []), *vars(part).values()]
    elif isinstance(part, (list, tuple, set)):
        inside = list(part)
    elif isinstance(part, Mapping):
        inside = list(part.values())
    for each in inside:
        yield from layers_within(each, seen)


INITIALIZER_SEED = "_init_seed"  # the attribute of an initializer with the seed that the user gave, or None


@contextmanager
def seeds_in_config(model: keras.Model) -> Iterator[None]:
    """Include in configurations the seeds that initializers chose for variables that do not exist yet."""
    chosen = [
        part
        for layer in ([] if model.built else all_layers(model))
        for part in vars(layer).values()
        if isinstance(part, keras.initializers.Initializer)
        and private(part, "RandomInitializer._init_seed", UNKNOWN) is None
    ]
    for initializer in chosen:
        setattr(initializer, INITIALIZER_SEED, initializer.seed)
    try:
        yield
    finally:
        for initializer in chosen:
            setattr(initializer, INITIALIZER_SEED, None)


@contextmanager
def metrics_forgotten(model: keras.Model) -> Iterator[None]:
    """Drop the metrics of the previous ``compile()`` while the block compiles; restore them if it fails."""
    name = "_compile_metrics"
    before = vars(model).get(name)
    if before is not None:
        vars(model)[name] = None  # like compile(), which does not track it as a part of the model
    try:
        yield
    except BaseException:
        if before is not None:
            vars(model)[name] = before
        raise


def metrics_are_built(model: keras.Model) -> bool:
    """Whether a model's losses and metrics are built, from targets and outputs; False if unknown."""
    parts = (private(model, name, UNKNOWN) for name in ("Model._compile_loss", "Model._compile_metrics"))
    return all(part is None or getattr(part, "built", False) for part in parts)


UNKNOWN = object()  # stands for a part of a model that cannot be found, so that it does not count as Keras's


def consists_of_keras(model: keras.Model) -> bool:
    """Whether the layers, metrics, losses and optimizer of a model are all Keras's own."""
    return all(map(is_of_keras, [*all_layers(model), *model.metrics, *compiled_parts(model)]))


def compiled_parts(model: keras.Model) -> list[Any]:
    """Return the optimizer, losses and metrics that were passed to ``compile()``."""
    if not model.compiled:
        return []
    metrics = private(model, "Model._compile_metrics", UNKNOWN)
    nested = [model.optimizer, model.loss]
    if metrics is not None:
        nested.append(private(metrics, "CompileMetrics._user_metrics", UNKNOWN))
        nested.append(private(metrics, "CompileMetrics._user_weighted_metrics", UNKNOWN))
    return keras.tree.flatten(nested)


def own_functions(model: keras.Model) -> list[Any]:
    """Return the functions of the user among losses, metrics and the attributes of Keras's layers."""
    parts = compiled_parts(model)
    parts += [wrapped_function(part) for part in parts]
    for layer in all_layers(model):
        if package_of(type(layer)) == "keras":
            parts += vars(layer).values()
    functions = filter(inspect.isfunction, parts)
    return [function for function in functions if package_of(function) not in ("keras", "kerasfit")]


def is_of_keras(part: Any) -> bool:
    """Whether a part of a model, and the function that it wraps, if any, are Keras's own."""
    if part is None or isinstance(part, str):
        return True
    function = part if inspect.isfunction(part) else wrapped_function(part)
    return (
        package_of(part if inspect.isfunction(part) else type(part)) == "keras"
        and (function is None or package_of(function) == "keras")
        and type(part).__name__ not in ("Lambda", "TorchModuleWrapper")
    )


def wrapped_function(part: Any) -> Any:
    """Return the function that a loss, metric or other part of a model wraps; None if there is none."""
    missing = UNKNOWN if isinstance(part, keras.metrics.MeanMetricWrapper) else None
    return getattr(part, "fn", private(part, "MeanMetricWrapper._fn", missing))


def nodes_of(layer: keras.layers.Layer) -> list[Any] | None:
    """Return a node for each call of a layer, with tensors and arguments; None if unknown."""
    return private(layer, "Layer._inbound_nodes")


def is_called_with_flag(layer: keras.layers.Layer) -> bool:
    """Whether a model calls, or may call, a layer with a true flag such as ``training=True``."""
    nodes = nodes_of(layer)
    if nodes is None:
        return True
    values = [value for node in nodes for value in (*node.arguments.args, *node.arguments.kwargs.values())]
    return any(value for value in values if isinstance(value, (int, np.bool_)))


@contextmanager
def unknown_batch_size(model: keras.Model) -> Iterator[None]:
    """Make the loss metric of each output weight all batches equally, also if a trace knows their size.

    Keras weights batches by their size if it is known when tracing, which it is not in TensorFlow's graphs.
    """
    metrics = list(getattr(private(model, "Model._compile_loss"), "metrics", []))
    for metric in metrics:
        metric.__dict__["update_state"] = partial(unweighted_update, metric)
    try:
        yield
    finally:
        for metric in metrics:
            del metric.__dict__["update_state"]


def unweighted_update(metric: keras.metrics.Metric, values: Any, sample_weight: Any = None) -> Any:
    return type(metric).update_state(metric, values)


def put(variable: keras.Variable, value: Any) -> None:
    """Assign a backend tensor of the variable's shape and type without checks."""
    private(variable, "Variable._direct_assign", variable.assign)(value)


def adam_moments(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any] | None:
    """Return Adam's two moments of a variable as backend variables; None if they cannot be found."""
    index_of = private(optimizer, "Optimizer._get_variable_index")
    moments = private(optimizer, "Adam._momentums"), private(optimizer, "Adam._velocities")
    if index_of is None or None in moments:
        return None
    return tuple(each[index_of(variable)].value for each in moments)


def sgd_momentum(optimizer: keras.optimizers.SGD, variable: Any) -> Any | None:
    """Return SGD's momentum of a variable as a backend variable; None if it cannot be found."""
    index_of = private(optimizer, "Optimizer._get_variable_index")
    return optimizer.momentums[index_of(variable)].value if index_of else None


def optional_inputs(model: keras.Model) -> set[int | str]:
    """Return the numbers and names of a model's optional inputs."""
    optional: set[int | str] = set()
    for number, tensor in enumerate(getattr(model, "inputs", None) or []):
        history = private(tensor, "KerasTensor._keras_history")
        if getattr(getattr(history, "operation", None), "optional", False):
            optional |= {number, tensor.name}
    return optional


def changes_of_trainable_weights(model: keras.Model) -> tuple[int, int]:
    """Count the weights that have become trainable, or not trainable, since the optimizer was built."""
    optimizer = model.optimizer
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    built_for = private(optimizer, "Optimizer._trainable_variables")
    if not getattr(optimizer, "built", False) or built_for is None:
        return 0, 0
    before, now = (set(map(id, variables)) for variables in (built_for, model.trainable_variables))
    return len(now - before), len(before - now)


def has_rate_schedule(model: keras.Model) -> bool:
    """Whether the learning rate of a model's optimizer follows a schedule, and cannot be set."""
    rate = private(model.optimizer, "Optimizer._learning_rate")
    return isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)


def profiles(callback: keras.callbacks.TensorBoard) -> bool:
    """Whether a callback profiles steps; True if unknown."""
    return private(callback, "TensorBoard._should_trace", True)


def is_container(part: Any) -> bool:
    """Whether a loss or metric is Keras's container for those that the user passed to ``compile()``."""
    return type(part).__name__ in ("CompileLoss", "CompileMetrics")


CALLBACK_MODEL = "_model"  # the attribute of a callback with its model
