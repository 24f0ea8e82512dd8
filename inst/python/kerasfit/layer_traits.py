"""Properties of a model's layers that decide how the model is run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import keras

from kerasfit.keras_private import all_layers, is_called_with_flag, is_of_keras, nodes_of
from kerasfit.model_traits import uses_keras_methods
from kerasfit.object_origin import package_of

# Layers of Keras that compute each sample's outputs from that sample alone, except in training mode.
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

    True for models without a fixed batch size that consist of Keras's own layers with Keras's own functions,
    if no layer operates along the first axis, is in training mode, or keeps a state.
    """
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if not uses_keras_methods(model, "predict_step") or not inputs:
        return False
    has_fixed_size = any(tensor.shape[0] is not None for tensor in inputs) and not records_batch_size(model)
    return not has_fixed_size and layers_separate_rows(model)


def records_batch_size(model: keras.Model) -> bool:
    """Whether the batch size in a model's inputs is only that of the first batch that it was called on."""
    return isinstance(model, keras.Sequential) and not is_stateful(model)


def layers_separate_rows(model: keras.Model) -> bool:
    """Whether each layer of a model computes a sample's outputs from that sample alone."""
    return all(map(row_is_separate, all_layers(model)))


def row_is_separate(layer: keras.layers.Layer) -> bool:
    if type(layer).__name__ not in SEPARATE_ROWS or package_of(type(layer)) != "keras":
        return False
    if isinstance(layer, keras.Model):
        # other operations, such as those of keras.ops, may do anything
        operations = getattr(layer, "operations", [])
        are_layers = all(isinstance(operation, keras.layers.Layer) for operation in operations)
        return "call" not in vars(layer) and are_layers and not any(map(is_called_with_flag, operations))
    if getattr(layer, "stateful", False) or not all(
        is_of_keras(f) for f in vars(layer).values() if callable(f)
    ):
        return False
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, kernel, outputs = re.split(",|->", layer.equation.replace(" ", ""))
        return inputs[0] == outputs[0] and inputs[0] not in kernel.replace(".", "")
    if isinstance(layer, keras.layers.MultiHeadAttention):
        axes = keras.tree.flatten(layer.get_config()["attention_axes"])
    else:
        axes = keras.tree.flatten(getattr(layer, "axis", None))
    return all(axis is None or axis > 0 or axis == -1 for axis in axes)


def compiles_with_xla(model: keras.Model) -> bool:
    """Whether XLA can compile all layers of a model with TensorFlow, with the same results.

    An index out of range of an embedding is an error in TensorFlow but not in XLA; ``indices`` checks those
    that come directly from the data. Keras declares recurrent layers as not supported by XLA only because of
    a kernel for GPUs.
    """
    embeddings = {id(layer) for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)}
    calls = list(embedding_calls(model, own_inputs(model)))
    return all(
        layer.supports_jit
        or isinstance(layer, (keras.layers.LSTM, keras.layers.GRU, keras.layers.Bidirectional))
        for layer in all_layers(model)
        if not isinstance(layer, keras.Model)
    ) and (embeddings == {id(layer) for layer, _ in calls} and all(inputs for _, inputs in calls))


LARGE_CONVOLUTIONS = 100_000  # multiplications for each sample


def xla_pays_after(model: keras.Model) -> int:
    """Return the number of steps after which XLA has saved more time than its compilation took.

    A rough estimate, for TensorFlow on CPUs, where compilation takes one to two seconds. XLA saves a third to
    one millisecond per step with dense layers, less with small ones and with small convolutions, and three to
    eight milliseconds with recurrent layers and large convolutions.
    """
    convolutions = sum(map(multiplications, filter(is_convolution, all_layers(model))))
    if is_recurrent(model) or convolutions >= LARGE_CONVOLUTIONS:
        return 300
    return 1000 if model.count_params() > 50_000 else 5000


def is_recurrent(model: keras.Model) -> bool:
    """Whether a model has recurrent layers."""
    recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
    return any(isinstance(layer, recurrent) for layer in all_layers(model))


def is_convolutional(model: keras.Model) -> bool:
    """Whether a model has convolutions."""
    return any(map(is_convolution, all_layers(model)))


def is_convolution(layer: keras.layers.Layer) -> bool:
    return "Conv" in type(layer).__name__


def multiplications(layer: keras.layers.Layer) -> float:
    """The number of multiplications of a convolution for each sample, about; infinite if it is not known."""
    try:
        shapes = layer.input.shape, layer.output.shape
        parameters = layer.count_params()
    except (AttributeError, ValueError):  # not built, or called several times or in a model's own call()
        return math.inf
    if any(None in shape[1:] for shape in shapes):
        return math.inf
    channels = 1 if keras.config.image_data_format() == "channels_first" else -1
    positions = [math.prod(shape[1:]) / shape[channels] for shape in shapes]
    return max(positions) * parameters


def is_stateful(model: keras.Model) -> bool:
    """Whether a layer of a model keeps a state for each sample of a batch, as recurrent layers may."""
    return any(getattr(layer, "stateful", False) for layer in all_layers(model))


def stateful_batch_size(model: keras.Model) -> int | None:
    """Return the only batch size that a model with stateful recurrent layers accepts; None for others."""
    size = fixed_batch_size(model)
    return size if size and is_stateful(model) else None


def fixed_batch_size(model: keras.Model) -> int | None:
    """Return the fixed batch size of a model's inputs, if any.

    A Sequential model may record the size of the first batch that it was called on, which is ignored unless
    a layer keeps a state for each sample.
    """
    sizes = {tensor.shape[0] for tensor in getattr(model, "inputs", None) or []} - {None}
    if len(sizes) != 1 or records_batch_size(model):
        return None
    return sizes.pop()


def input_embeddings(model: keras.Model) -> list[tuple[int, keras.layers.Embedding]]:
    """Return the embeddings in a model that get values of an input unchanged, with that input's number.

    An embedding may be called on several inputs, and may be in a nested model.
    """
    calls = embedding_calls(model, own_inputs(model))
    found = {(number, id(layer)): layer for layer, inputs in calls for number in inputs}
    return [(number, layer) for (number, _), layer in found.items()]


def own_inputs(model: keras.Model) -> dict[int, set[int]]:
    """Return the numbers of a model's inputs by the ids of their tensors."""
    return {id(tensor): {number} for number, tensor in enumerate(getattr(model, "inputs", None) or [])}


# Layers that only reorder or reshape the values of their inputs.
KEEP_VALUES = (
    keras.layers.Concatenate,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Reshape,
)


def embedding_calls(
    model: keras.Model, inputs: dict[int, set[int]]
) -> Iterator[tuple[keras.layers.Embedding, set[int]]]:
    """Yield each call of an embedding in a model, with the numbers of the inputs whose values it gets.

    ``inputs`` maps the ids of tensors to the numbers of the inputs whose values they contain. Calls on other
    tensors have no number.
    """
    inputs = dict(inputs)
    for layer in model.layers:
        within: dict[int, set[int]] = {}
        for node in nodes_of(layer) or ():
            numbers = [inputs.get(id(tensor), set()) for tensor in node.input_tensors]
            if isinstance(layer, keras.layers.Embedding):
                yield layer, numbers[0] if numbers else set()
            elif isinstance(layer, KEEP_VALUES) and all(numbers):
                inputs |= {id(tensor): set().union(*numbers) for tensor in node.output_tensors}
            elif isinstance(layer, keras.Model):
                for tensor, known in zip(getattr(layer, "inputs", None) or [], numbers, strict=False):
                    within.setdefault(id(tensor), set()).update(known)
        if within:
            yield from embedding_calls(layer, within)
