"""The only file that touches what Keras does not export.

Everything else in the core uses public names, so that a new Keras release is a matter of this file, and so
is a name that an older one lacks.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any

import keras
import numpy as np
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator

from kerasfit.origin import package_of


def build_state(model: keras.Model, batch: tuple) -> None:
    """Create the variables of model, loss, metrics and optimizer that a batch of this shape implies."""
    model._symbolic_build(data_batch=batch)


def output_shapes(model: keras.Model, x: Any) -> list[tuple]:
    """The shapes of what a model that is built makes of inputs like these; none if it cannot be told."""
    inputs = keras.tree.map_structure(
        lambda leaf: (
            leaf
            if leaf is None
            else keras.KerasTensor(leaf.shape, keras.backend.standardize_dtype(leaf.dtype))
        ),
        x,
    )
    try:
        outputs = backend.compute_output_spec(model, inputs, training=False)
    except Exception:  # which a step will say in its own words
        return []
    return [output.shape for output in keras.tree.flatten(outputs)]


def choose_direction(callback: keras.callbacks.Callback) -> None:
    """Have a callback decide now whether its metric is to grow or to fall.

    Keras leaves that to the end of the first epoch, and turns the sign of ``min_delta`` with it: in a run
    that is resumed, once more.
    """
    if hasattr(callback, "_set_monitor_op") and getattr(callback, "monitor_op", None) is None:
        with suppress(ValueError):  # which comes at the end of the epoch
            callback._set_monitor_op()


def loss_arguments(loss: Any) -> dict[str, Any] | None:
    """The arguments of one of Keras's losses, some of which its configuration leaves out."""
    return getattr(loss, "_fn_kwargs", None)


def restored_epoch(model: keras.Model) -> int | None:
    """The 1-based epoch at which a callback (``BackupAndRestore``) wants training to start, if any."""
    return model._initial_epoch + 1 if model._initial_epoch else None


def global_seed() -> keras.Variable | None:
    """The state of the generator that random numbers without a seed of their own come from.

    None if there is none yet: Keras makes it when it is first used.
    """
    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    return None if generator is None else generator.state


def set_global_seed(value: Any) -> None:
    """Give that generator a state; None if it is to be made when it is next used."""
    if value is None:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)
    else:
        global_seed_generator().state.assign(value)


def max_epochs() -> int | None:
    """The cap that ``keras.config.set_max_epochs()`` has put on epochs. Keras 3.9 has none."""
    return getattr(keras.config, "max_epochs", lambda: None)()


def max_steps_per_epoch() -> int | None:
    """The cap that ``keras.config.set_max_steps_per_epoch()`` has put on steps. Keras 3.9 has none."""
    return getattr(keras.config, "max_steps_per_epoch", lambda: None)()


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers of a model, those inside other layers too."""
    return list(model._flatten_layers())


def metrics_reset_variables_only(model: keras.Model) -> bool:
    """Whether all that resetting a model's metrics does is to assign variables: no metric has its own way."""
    metrics = list(model.metrics)
    while metrics:
        metric = metrics.pop()
        if package_of(type(metric).reset_state) != "keras":
            return False
        metrics.extend(getattr(metric, "metrics", None) or [])
    return "reset_metrics" not in vars(type(model))


def consists_of_keras(model: keras.Model) -> bool:
    """Whether layers, metrics, losses and the optimizer of a model are all Keras's own."""
    parts = [*all_layers(model), *model.metrics]
    if model.compiled:
        metrics = model._compile_metrics
        parts += [model.optimizer, model.loss]
        parts += [metrics._user_metrics, metrics._user_weighted_metrics] if metrics else []
    return all(map(is_of_keras, keras.tree.flatten(parts)))


def is_of_keras(part: Any) -> bool:
    """Whether a part of a model, and the function that it wraps if any, is Keras's."""
    if part is None or isinstance(part, str):
        return True
    function = part if inspect.isfunction(part) else getattr(part, "fn", getattr(part, "_fn", None))
    return (
        package_of(part if inspect.isfunction(part) else type(part)) == "keras"
        and (function is None or package_of(function) == "keras")
        and type(part).__name__ not in ("Lambda", "TorchModuleWrapper")
    )


# Layers of Keras that compute each sample's outputs from that sample alone, when they do not train.
SEPARATE_ROWS = """
Functional Sequential InputLayer Dense EinsumDense Embedding Identity Masking Activation ReLU LeakyReLU
PReLU ELU Softmax Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D
DepthwiseConv2D SeparableConv1D SeparableConv2D MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D
AveragePooling2D AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D SimpleRNN LSTM GRU SimpleRNNCell
LSTMCell GRUCell Bidirectional TimeDistributed BatchNormalization LayerNormalization RMSNormalization
GroupNormalization UnitNormalization Normalization Rescaling Dropout SpatialDropout1D SpatialDropout2D
SpatialDropout3D GaussianDropout GaussianNoise ActivityRegularization Add Subtract Multiply Average
Maximum Minimum Concatenate Flatten Reshape Permute RepeatVector Cropping1D Cropping2D Cropping3D
UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D MultiHeadAttention
Attention
""".split()  # noqa: SIM905


def rows_are_separate(model: keras.Model) -> bool:
    """Whether a model's prediction for a sample does not depend on the other samples of its batch.

    So it is for models that consist of Keras's own layers, with Keras's own functions in them, none of which
    looks along the first axis, is in training mode, or keeps a state; and whose batches have no fixed size.
    """
    own_step = "predict_step" in vars(model) or type(model).predict_step is not keras.Model.predict_step
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if own_step or not inputs or any(tensor.shape[0] is not None for tensor in inputs):
        return False
    return all(map(row_is_separate, all_layers(model)))


def row_is_separate(layer: keras.layers.Layer) -> bool:
    if type(layer).__name__ not in SEPARATE_ROWS or package_of(type(layer)) != "keras":
        return False
    if isinstance(layer, keras.Model):
        # other operations, as keras.ops has them, may do anything
        operations = getattr(layer, "operations", [])
        are_layers = all(isinstance(operation, keras.layers.Layer) for operation in operations)
        return "call" not in vars(layer) and are_layers and not any(map(is_told_something, operations))
    if getattr(layer, "stateful", False) or not all(
        is_of_keras(f) for f in vars(layer).values() if callable(f)
    ):
        return False
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, kernel, outputs = re.split(",|->", layer.equation.replace(" ", ""))
        return inputs[0] == outputs[0] and inputs[0] not in kernel.replace(".", "")
    axes = keras.tree.flatten([getattr(layer, name, None) for name in ("axis", "_attention_axes")])
    return all(axis is None or axis > 0 or axis == -1 for axis in axes)


def is_told_something(layer: keras.layers.Layer) -> bool:
    """Whether a model calls a layer with a flag that is on, such as ``training=True``."""
    values = [
        value
        for node in layer._inbound_nodes
        for value in (*node.arguments.args, *node.arguments.kwargs.values())
    ]
    return any(value for value in values if isinstance(value, (int, np.bool_)))


@contextmanager
def unknown_batch_size(model: keras.Model) -> Iterator[None]:
    """Let the metrics of each output's loss count batches alike, although their size is known to a trace.

    Keras weights them by a batch's size where its trace knows it, and so not in TensorFlow's graphs.
    """
    metrics = list(getattr(model._compile_loss, "metrics", []))
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
    """Assign a value that is of the backend, and of the variable's shape and type, without a look at it."""
    variable._direct_assign(value)


def adam_moments(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any]:
    """Adam's two moments of a variable, as the backend's variables."""
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index].value, optimizer._velocities[index].value


def sgd_momentum(optimizer: keras.optimizers.SGD, variable: Any) -> Any | None:
    """SGD's momentum of a variable, as the backend's variable, if it has momentum."""
    if not optimizer.momentum:
        return None
    return optimizer.momentums[optimizer._get_variable_index(variable)].value


def compiles_with_xla(model: keras.Model) -> bool:
    """Whether XLA compiles all layers of a model, with TensorFlow, and does with them what TensorFlow does.

    An index that an embedding does not have is an error to TensorFlow and nothing to XLA; ``indices`` has
    looked at those that come straight from the data. Keras says of recurrent layers that XLA does not
    compile them, because of a kernel for GPUs.
    """
    embeddings = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    return all(
        layer.supports_jit
        or isinstance(layer, (keras.layers.LSTM, keras.layers.GRU, keras.layers.Bidirectional))
        for layer in all_layers(model)
        if not isinstance(layer, keras.Model)
    ) and len(embeddings) == len(input_embeddings(model))


def xla_pays_after(model: keras.Model) -> int:
    """After how many steps XLA has saved the time that it takes to compile them, with TensorFlow on CPUs.

    About: dense layers take a third to one millisecond less for each step, others more than that; small ones
    less than that.
    """
    if has_long_steps(model):
        return 100
    return 1000 if model.count_params() > 50_000 else 5000


def has_long_steps(model: keras.Model) -> bool:
    """Whether a model has convolutions or recurrent layers."""
    recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
    return is_convolutional(model) or any(isinstance(layer, recurrent) for layer in all_layers(model))


def stateful_batch_size(model: keras.Model) -> int | None:
    """The size of the batches that a model with stateful recurrent layers takes, and no others."""
    inputs = getattr(model, "inputs", None) or []
    if inputs and any(getattr(layer, "stateful", False) for layer in all_layers(model)):
        return inputs[0].shape[0]
    return None


def input_embeddings(model: keras.Model) -> list[tuple[int, keras.layers.Embedding]]:
    """The embeddings in a model that take one of its inputs as it is, with the number of that input."""
    inputs = {id(tensor): number for number, tensor in enumerate(getattr(model, "inputs", None) or [])}
    return [
        (inputs[id(layer.input)], layer)
        for layer in model.layers
        if isinstance(layer, keras.layers.Embedding)
        and len(layer._inbound_nodes) == 1
        and id(layer.input) in inputs
    ]


def optional_inputs(model: keras.Model) -> set[int | str]:
    """The numbers and names of the inputs that a model can do without."""
    optional: set[int | str] = set()
    for number, tensor in enumerate(getattr(model, "inputs", None) or []):
        if getattr(tensor._keras_history.operation, "optional", False):
            optional |= {number, tensor.name}
    return optional


def is_convolutional(model: keras.Model) -> bool:
    """Whether a model has convolutions."""
    return any("Conv" in type(layer).__name__ for layer in all_layers(model))


def trains_other_weights(model: keras.Model) -> bool:
    """Whether the optimizer was built for other weights than are trainable now."""
    optimizer = model.optimizer
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if not getattr(optimizer, "built", False):
        return False
    return set(map(id, optimizer._trainable_variables)) != set(map(id, model.trainable_variables))


@contextmanager
def replaced(functions: Mapping[str, Callable[[Callable], Callable]]) -> Iterator[None]:
    """Let layers compute with other functions, while a step is traced or runs.

    Each function is made from the one it stands for: "nn.conv" of the backend, "LSTM.inner_loop" of layers.
    One that this Keras does not have is passed over. Where several threads want them, or one does twice, the
    first puts them there and the last takes them away.
    """
    with _replacing:
        for name, make in functions.items():
            owner, attribute = place_of(name)
            if not _users[name] and (own := getattr(owner, attribute, None)):
                _own_functions[name] = own
                setattr(owner, attribute, make(own))
            _users[name] += 1
    try:
        yield
    finally:
        with _replacing:
            for name in functions:
                _users[name] -= 1
                if not _users[name] and name in _own_functions:
                    setattr(*place_of(name), _own_functions.pop(name))


_replacing = Lock()
_users: Counter[str] = Counter()
_own_functions: dict[str, Callable] = {}


def place_of(name: str) -> tuple[Any, str]:
    place, attribute = name.split(".")
    return getattr(keras.layers, place, None) or getattr(backend, place), attribute
