"""Random compiled models with data: layers, structures, heads with losses and metrics, and optimizers.

All randomness comes from ``Choices``. ``LEFT_OUT`` lists the layers of Keras that are never drawn, with
reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from choices import Choices
from keras import layers, losses, metrics, ops, optimizers
from own_layers import Counting, Measuring, Penalty, TrainingOnly

SAMPLES = 14  # with batches of 4: three full ones and a last batch of 2
BACKEND = keras.backend.backend()

# ---- layers --------------------------------------------------------------------------------------------

ACTIVATIONS = (
    *("linear", "relu", "tanh", "sigmoid", "gelu", "elu", "selu", "softplus", "swish", "hard_sigmoid"),
    *("leaky_relu", "softsign", "exponential", "log_softmax", "mish", "relu6"),
)
REGULARIZERS = ("None", "l1", "l2", "l1_l2", "orthogonal_regularizer")
CONSTRAINTS = ("None", "non_neg", "unit_norm", "max_norm", "min_max_norm")


def option(c: Choices, name: str, options: tuple) -> Any:
    value = c.of(name, options, 0.8)
    return None if value == "None" else value


def dense(c: Choices, units: int = 4) -> layers.Layer:
    return layers.Dense(
        units,
        activation=c.of("activation", ACTIVATIONS),
        use_bias=c.of("bias", [True, False], 0.7),
        kernel_regularizer=option(c, "kernel regularizer", REGULARIZERS),
        activity_regularizer=option(c, "activity regularizer", ("None", "l1", "l2")),
        kernel_constraint=option(c, "kernel constraint", CONSTRAINTS),
        bias_constraint=option(c, "bias constraint", ("None", "non_neg")),
        **({"lora_rank": 2} if c.of("lora", [False, True], 0.9) else {}),
    )


def convolution(kind: str) -> Callable[[Choices], layers.Layer]:
    def make(c: Choices) -> layers.Layer:
        rank, transposed, depthwise = (
            int(kind.removesuffix("Transpose")[-2]),
            "Transpose" in kind,
            kind.startswith("Depthwise"),
        )
        stride = c.of("strides", [1, 2, 3], 0.5)
        more: dict[str, Any] = {}
        if stride == 1 or (transposed and BACKEND == "tensorflow"):
            more["dilation_rate"] = c.of("dilation", [1, 2], 0.7) if stride == 1 else 1
        if kind in ("Conv1D", "Conv2D", "Conv3D"):
            more["groups"] = c.of("groups", [1, 2], 0.8)
        if "Depthwise" in kind or "Separable" in kind:
            more["depth_multiplier"] = c.of("depth multiplier", [1, 2])
        padding = ["valid", "same", "causal"] if kind == "Conv1D" else ["valid", "same"]
        size = c.of("kernel size", [2, 1, 3] if rank == 3 else [3, 1, 2, 4, (2,) * (rank - 1) + (3,)])
        return getattr(layers, kind)(
            *(() if depthwise else (c.of("filters", [4, 2, 6]),)),
            size,
            strides=stride,
            padding=c.of("padding", padding),
            activation=c.of("activation", ACTIVATIONS[:6]),
            use_bias=c.of("bias", [True, False], 0.7),
            **more,
        )

    return make


def pooling(kind: str) -> Callable[[Choices], layers.Layer]:
    def make(c: Choices) -> layers.Layer:
        return getattr(layers, kind)(
            c.of("pool size", [2, 3, 1]),
            strides=c.of("strides", {"None": None, "1": 1, "2": 2, "3": 3}, 0.4),
            padding=c.of("padding", ["valid", "same"]),
        )

    return make


def adaptive(kind: str) -> Callable[[Choices], layers.Layer]:
    return lambda c: getattr(layers, kind)(c.of("output size", [2, 1, 3]))


def recurrent(kind: str) -> Callable[[Choices], layers.Layer]:
    def make(c: Choices, **more: Any) -> layers.Layer:
        if kind == "GRU":
            more["reset_after"] = c.of("reset after", [True, False])
        if kind == "LSTM":
            more["unit_forget_bias"] = c.of("forget bias", [True, False])
        return getattr(layers, kind)(
            c.of("units", [3, 5]),
            activation=c.of("activation", ["tanh", "relu", "sigmoid"], 0.6),
            return_sequences=c.of("return sequences", [False, True]),
            go_backwards=c.of("go backwards", [False, True], 0.7),
            unroll=c.of("unroll", [False, True], 0.8),
            use_bias=c.of("bias", [True, False], 0.8),
            recurrent_regularizer=option(c, "regularizer", ("None", "l2")),
            **more,
        )

    return make


def convolutional_lstm(rank: int) -> Callable[[Choices], layers.Layer]:
    return lambda c: getattr(layers, f"ConvLSTM{rank}D")(
        2,
        2,
        padding=c.of("padding", ["valid", "same"]),
        return_sequences=c.of("return sequences", [False, True]),
        go_backwards=c.of("go backwards", [False, True], 0.7),
    )


def stacked_cells(c: Choices) -> layers.Layer:
    cells = {"LSTMCell": layers.LSTMCell, "GRUCell": layers.GRUCell, "SimpleRNNCell": layers.SimpleRNNCell}
    stack = [c.of(f"cell {i}", cells)(3) for i in (1, 2)]
    sequences = c.of("return sequences", [False, True])
    cell = layers.StackedRNNCells(stack) if c.of("stacked", [True, False]) else stack[0]
    return layers.RNN(cell, return_sequences=sequences)


def bidirectional(c: Choices) -> layers.Layer:
    inner = recurrent(c.of("inner", ["LSTM", "GRU", "SimpleRNN"]))(c)
    if inner.go_backwards:
        inner.go_backwards = False
    return layers.Bidirectional(inner, merge_mode=c.of("merge", ["concat", "sum", "mul", "ave"]))


def batch_normalization(c: Choices) -> layers.Layer:
    return layers.BatchNormalization(
        momentum=c.of("momentum", [0.99, 0.5]),
        center=c.of("center", [True, False], 0.8),
        scale=c.of("scale", [True, False], 0.8),
    )


def normalization(c: Choices) -> layers.Layer:
    return layers.Normalization(axis=None, mean=0.3, variance=2.0)


class SelfAttention(layers.Layer):
    """An attention layer whose queries, keys and values are all the same."""

    def __init__(self, attention: layers.Layer, times: int, **arguments: Any):
        super().__init__()
        self.attention, self.times, self.arguments = attention, times, arguments
        self.supports_masking = True

    def call(self, x):
        if isinstance(self.attention, (layers.Attention, layers.AdditiveAttention)):
            return self.attention([x] * self.times, **self.arguments)
        return self.attention(*[x] * self.times, **self.arguments)

    def compute_output_shape(self, shape):
        return shape


def attention(kind: str) -> Callable[[Choices], layers.Layer]:
    def make(c: Choices) -> layers.Layer:
        causal = {"use_causal_mask": True} if c.of("causal mask", [False, True]) else {}
        if kind == "MultiHeadAttention":
            return SelfAttention(layers.MultiHeadAttention(2, 3), 2, **causal)
        if kind == "GroupQueryAttention":
            return SelfAttention(layers.GroupQueryAttention(3, 2, 1), 2, **causal)
        return SelfAttention(getattr(layers, kind)(use_scale=True), 2, **causal)

    return make


def torch_module(c: Choices) -> layers.Layer:
    import torch

    return layers.TorchModuleWrapper(torch.nn.Linear(4, 4))


def jax_layer(c: Choices) -> layers.Layer:
    import jax.numpy as jnp

    return layers.JaxLayer(lambda params, x: jnp.tanh(x @ params), lambda rng, x: jnp.eye(x.shape[-1]) * 0.7)


ANY_RANK: dict[str, Callable[[Choices], layers.Layer]] = {
    "Dense": dense,
    "Activation": lambda c: layers.Activation(c.of("function", ACTIVATIONS)),
    "BatchNormalization": batch_normalization,
    "LayerNormalization": lambda c: layers.LayerNormalization(center=c.of("center", [True, False], 0.8)),
    "RMSNormalization": lambda c: layers.RMSNormalization(),
    "GroupNormalization": lambda c: layers.GroupNormalization(
        c.of("groups", [1, 2])
    ),  # a value alone has no gradient but rounding
    "UnitNormalization": lambda c: layers.UnitNormalization(),
    "PReLU": lambda c: layers.PReLU(alpha_initializer=keras.initializers.Constant(0.2)),
    "LeakyReLU": lambda c: layers.LeakyReLU(),
    "ELU": lambda c: layers.ELU(),
    "ReLU": lambda c: layers.ReLU(max_value=c.of("largest", {"None": None, "1": 1.0})),
    "Softmax": lambda c: layers.Softmax(),
    "ActivityRegularization": lambda c: layers.ActivityRegularization(l1=0.01, l2=0.02),
    "Dropout": lambda c: layers.Dropout(0.0),
    "AlphaDropout": lambda c: layers.AlphaDropout(0.0),
    "GaussianDropout": lambda c: layers.GaussianDropout(0.0),
    "GaussianNoise": lambda c: layers.GaussianNoise(0.0),
    "Identity": lambda c: layers.Identity(),
    "Rescaling": lambda c: layers.Rescaling(0.5, offset=0.1),
    "Normalization": normalization,
    "Lambda": lambda c: layers.Lambda(lambda x: ops.where(x > 0, x, ops.tanh(x))),
    "SpectralNormalization": lambda c: layers.SpectralNormalization(layers.Dense(4), power_iterations=2),
    "own penalty": lambda c: Penalty(),
    "own counter": lambda c: Counting(),
    "own metric": lambda c: Measuring(),
    "own training flag": lambda c: TrainingOnly(),
}

BY_RANK: dict[int, dict[str, Callable[[Choices], layers.Layer]]] = {
    2: {
        "RepeatVector": lambda c: layers.RepeatVector(3),
        "Reshape": lambda c: layers.Reshape((-1, 2)),
        "EinsumDense": lambda c: layers.EinsumDense("ab,bc->ac", 4, bias_axes="c"),
        "Discretization": lambda c: layers.Discretization([-0.5, 0.0, 0.5], output_mode="multi_hot"),
        **({"TorchModuleWrapper": torch_module} if BACKEND == "torch" else {}),
        **({"JaxLayer": jax_layer} if BACKEND == "jax" else {}),
    },
    3: {
        **{kind: recurrent(kind) for kind in ("LSTM", "GRU", "SimpleRNN")},
        "RNN": stacked_cells,
        "Bidirectional": bidirectional,
        "TimeDistributed": lambda c: layers.TimeDistributed(
            layers.Dense(4, c.of("activation", ACTIVATIONS[:5]))
        ),
        **{
            kind: convolution(kind)
            for kind in ("Conv1D", "SeparableConv1D", "DepthwiseConv1D", "Conv1DTranspose")
        },
        **{kind: pooling(kind) for kind in ("MaxPooling1D", "AveragePooling1D")},
        **{kind: adaptive(kind) for kind in ("AdaptiveAveragePooling1D", "AdaptiveMaxPooling1D")},
        **{
            kind: attention(kind)
            for kind in ("MultiHeadAttention", "GroupQueryAttention", "Attention", "AdditiveAttention")
        },
        "EinsumDense": lambda c: layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"),
        "SpatialDropout1D": lambda c: layers.SpatialDropout1D(0.0),
        "UpSampling1D": lambda c: layers.UpSampling1D(2),
        "ZeroPadding1D": lambda c: layers.ZeroPadding1D((1, 2)),
        "Cropping1D": lambda c: layers.Cropping1D((0, 1)),
        "Permute": lambda c: layers.Permute((2, 1)),
        "GlobalMaxPooling1D": lambda c: layers.GlobalMaxPooling1D(),
        "GlobalAveragePooling1D": lambda c: layers.GlobalAveragePooling1D(),
        "Masking": lambda c: layers.Masking(),
    },
    4: {
        **{
            kind: convolution(kind)
            for kind in ("Conv2D", "SeparableConv2D", "DepthwiseConv2D", "Conv2DTranspose")
        },
        **{kind: pooling(kind) for kind in ("MaxPooling2D", "AveragePooling2D")},
        **{kind: adaptive(kind) for kind in ("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D")},
        "SpatialDropout2D": lambda c: layers.SpatialDropout2D(0.0),
        "UpSampling2D": lambda c: layers.UpSampling2D(2, interpolation=c.of("how", ["nearest", "bilinear"])),
        "ZeroPadding2D": lambda c: layers.ZeroPadding2D(1),
        "Cropping2D": lambda c: layers.Cropping2D(1),
        "Resizing": lambda c: layers.Resizing(5, 6),
        "CenterCrop": lambda c: layers.CenterCrop(4, 4),
        "ConvLSTM1D": convolutional_lstm(1),
        "TimeDistributed": lambda c: layers.TimeDistributed(layers.Conv1D(3, 2)),
        "GlobalMaxPooling2D": lambda c: layers.GlobalMaxPooling2D(),
        "GlobalAveragePooling2D": lambda c: layers.GlobalAveragePooling2D(),
    },
    5: {
        **{kind: convolution(kind) for kind in ("Conv3D", "Conv3DTranspose")},
        **{kind: pooling(kind) for kind in ("MaxPooling3D", "AveragePooling3D")},
        **{kind: adaptive(kind) for kind in ("AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D")},
        "SpatialDropout3D": lambda c: layers.SpatialDropout3D(0.0),
        "UpSampling3D": lambda c: layers.UpSampling3D(2),
        "ZeroPadding3D": lambda c: layers.ZeroPadding3D(1),
        "Cropping3D": lambda c: layers.Cropping3D((0, 1, 1)),
        "ConvLSTM2D": convolutional_lstm(2),
        "TimeDistributed": lambda c: layers.TimeDistributed(layers.Conv2D(2, 2)),
        "GlobalMaxPooling3D": lambda c: layers.GlobalMaxPooling3D(),
        "GlobalAveragePooling3D": lambda c: layers.GlobalAveragePooling3D(),
    },
    6: {"ConvLSTM3D": convolutional_lstm(3)},
}

MERGES = {
    "Concatenate": lambda: layers.Concatenate(),
    "Add": lambda: layers.Add(),
    "Subtract": lambda: layers.Subtract(),
    "Multiply": lambda: layers.Multiply(),
    "Average": lambda: layers.Average(),
    "Maximum": lambda: layers.Maximum(),
    "Minimum": lambda: layers.Minimum(),
    "Dot": lambda: layers.Dot(1),
}

ELSEWHERE = (
    *("Embedding", "ReversibleEmbedding", "CategoryEncoding", "Hashing", "IntegerLookup"),
    *("Flatten", "InputLayer", "LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells"),
)

LEFT_OUT = {
    **dict.fromkeys(("Layer", "Wrapper", "InputSpec", "Pipeline"), "are no layers by themselves"),
    **dict.fromkeys(("StringLookup", "TextVectorization", "HashedCrossing"), "take text, and train nothing"),
    **dict.fromkeys(
        ("FlaxLayer", "TFSMLayer"), "hold models of packages that are not here, or that are saved"
    ),
    **dict.fromkeys(("JaxLayer", "TorchModuleWrapper"), "are for another backend"),
    **dict.fromkeys(("MelSpectrogram", "STFTSpectrogram"), "transform sound, and train nothing"),
    "MaxNumBoundingBoxes": "takes boxes",
    **dict.fromkeys(
        (
            *(
                "AugMix",
                "AutoContrast",
                "ContrastLimitedAdaptiveHistogramEqualization",
                "CutMix",
                "Equalization",
            ),
            *("MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter"),
            *("RandomContrast", "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomFlip"),
            *("RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective"),
            *("RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear"),
            *("RandomTranslation", "RandomZoom", "Solarization"),
        ),
        "changes images at random, and trains nothing",
    ),
}


def unknown_layers() -> list[str]:
    """Return the layers of this Keras that are neither drawn nor left out."""
    drawn = {*ANY_RANK, *(name for named in BY_RANK.values() for name in named), *MERGES, *ELSEWHERE}
    classes = {name: c for name, c in vars(layers).items() if isinstance(c, type)}
    return [
        name
        for name, c in classes.items()
        if name == c.__name__ and name not in drawn and name not in LEFT_OUT  # other names are aliases
    ]


# ---- inputs --------------------------------------------------------------------------------------------


@dataclass
class Input:
    """A kind of input: the shape declared to the model, the shape of the data, and how the data are drawn."""

    shape: tuple
    data_shape: tuple = ()
    dtype: str | None = None
    draw: Callable[[np.random.Generator, tuple], np.ndarray] = (
        lambda rng, shape: rng.normal(size=shape).astype("float32")
    )  # fmt: skip


def whole_numbers(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.integers(0, 9, shape).astype("int32")


def padded_with_zeros(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    x = rng.normal(size=shape).astype("float32")
    for row, length in enumerate(rng.integers(1, shape[1] + 1, len(x))):
        x[row, length:] = 0
    return x


def padded_words(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    x = rng.integers(1, 9, shape)
    for row, length in enumerate(rng.integers(1, shape[1] + 1, len(x))):
        x[row, length:] = 0
    return x.astype("int32")


def of_dtype(dtype: str) -> Callable[[np.random.Generator, tuple], np.ndarray]:
    if np.dtype(dtype).kind == "f":
        return lambda rng, shape: rng.normal(size=shape).astype(dtype)
    return lambda rng, shape: rng.integers(0, 2 if dtype == "bool" else 5, shape).astype(dtype)


INPUTS = {
    "vector": Input((5,)),
    "sequence": Input((6, 3)),
    "image": Input((8, 8, 2)),
    "words": Input((6,), dtype="int32", draw=whole_numbers),
    "padded words": Input((6,), dtype="int32", draw=padded_words),
    "padded sequence": Input((6, 3), draw=padded_with_zeros),
    "sequence of any length": Input((None, 3), (6, 3)),
    "image of any size": Input((None, None, 2), (8, 7, 2)),
    "volume": Input((4, 4, 4, 2)),
    "sequence of images": Input((3, 5, 5, 1)),
    "sequence of rows": Input((3, 5, 2)),
    "vector of doubles": Input((4,), draw=of_dtype("float64")),
    "vector of halves": Input((4,), draw=of_dtype("float16")),
    "vector of whole numbers": Input((4,), draw=of_dtype("int64")),
    "vector of booleans": Input((4,), draw=of_dtype("bool")),
    "image of bytes": Input((6, 6, 1), dtype="uint8", draw=of_dtype("uint8")),
    "sequence of volumes": Input((2, 3, 3, 3, 1)),
}


def first_layers(c: Choices, kind: str) -> list[layers.Layer]:
    """Return the layers that turn indices into numbers, or add a mask."""
    if kind == "padded words":
        how = c.of("embedding", ["Embedding", "ReversibleEmbedding"])
        return [getattr(layers, how)(9, 4, mask_zero=True)]
    if kind == "words":
        regularizer = option(c, "embeddings regularizer", ("None", "l2"))
        return {
            "Embedding": lambda: [layers.Embedding(9, 4, embeddings_regularizer=regularizer)],
            "Hashing": lambda: [layers.Hashing(5), layers.Embedding(5, 4)],
            "IntegerLookup": lambda: [layers.IntegerLookup(vocabulary=[1, 3, 5]), layers.Embedding(4, 4)],
            "CategoryEncoding": lambda: [layers.CategoryEncoding(9, output_mode="multi_hot")],
        }[c.of("encoding", ["Embedding", "CategoryEncoding", "Hashing", "IntegerLookup"], 0.5)]()
    if kind == "padded sequence":
        return [layers.Masking()]
    if kind == "image of bytes":
        return [layers.Rescaling(0.2)]
    return []


class Named:
    """Choices whose names have a common prefix, such as those of one layer."""

    def __init__(self, choices: Choices, prefix: str):
        self.choices, self.prefix = choices, prefix

    def of(self, name: str, *arguments: Any) -> Any:
        return self.choices.of(f"{self.prefix} {name}", *arguments)


LARGEST = 400  # numbers of a sample between two layers


def trunk(c: Choices, name: str, kind: str, most: int = 3) -> tuple[keras.KerasTensor, Any, list]:
    """Return an input, the output of random layers, and functions that make these layers."""
    start = INPUTS[kind]
    tensor = inputs = keras.Input(start.shape, dtype=start.dtype, name=name)
    made: list[layers.Layer] = []
    for layer in first_layers(c, kind):
        tensor = layer(tensor)
        made.append(layer)
    for number in range(1, c.of(f"{name} layers", range(1, most + 1)) + 1):
        which = f"{name} layer {number}"
        rank = len(tensor.shape)
        options = {"Identity": ANY_RANK["Identity"], **BY_RANK.get(rank, {})}
        if c.of(f"{which} is general", [False, True], 0.2 if rank > 2 else 0.0):
            options |= ANY_RANK
        if rank == 2:
            options |= ANY_RANK
        layer = c.of(which, options)(Named(c, which))
        try:
            after = layer(tensor)
        except Exception:  # it does not fit this shape
            continue
        sizes = after.shape[1:]
        if isinstance(after, (list, tuple)) or 0 in sizes or np.prod([s or 8 for s in sizes]) > LARGEST:
            continue
        tensor = after
        made.append(layer)
    return inputs, tensor, made


def flat(tensor: Any, c: Choices, name: str) -> list[layers.Layer]:
    """Return the layers that flatten each sample to a vector, if it is not one already."""
    rank = len(tensor.shape)
    if rank == 2:
        return []
    pools = {f"Global{how}Pooling": how for how in ("Average", "Max")} if rank in (3, 4, 5) else {}
    if any(size is None for size in tensor.shape[1:]):
        return [getattr(layers, f"GlobalAveragePooling{rank - 2}D")()]
    how = c.of(f"{name} made flat by", {"Flatten": None, **pools})
    return [layers.Flatten() if how is None else getattr(layers, f"Global{how}Pooling{rank - 2}D")()]


# ---- heads: losses and metrics -------------------------------------------------------------------------


def own_loss(y, y_pred):
    return ops.mean(ops.square(y - y_pred), axis=-1) + 0.1 * ops.mean(ops.abs(y_pred), axis=-1)


def own_metric(y, y_pred):
    return ops.mean(ops.abs(y - y_pred), axis=-1)


class OwnLoss(losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred) ** 1.5, axis=-1)


class Largest(metrics.Metric):
    """The largest prediction so far."""

    def __init__(self):
        super().__init__(name="largest")
        self.value = self.add_weight(shape=(), initializer="zeros", name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(ops.maximum(self.value, ops.cast(ops.max(y_pred), self.value.dtype)))

    def result(self):
        return ops.copy(self.value)


def named(module: Any, *names: str, **options: Any) -> dict[str, Callable[[], Any]]:
    """Return functions that make objects of a module, by name; names that this Keras lacks are left out."""
    return {
        ", ".join([name, *(f"{key} {value}" for key, value in options.items())]): (
            lambda name=name: getattr(module, name)(**options)
        )
        for name in names
        if hasattr(module, name)
    }


def text(*names: str) -> dict[str, Callable[[], str]]:
    return {name: (lambda name=name: name) for name in names}


@dataclass
class Head:
    """An output of a model: its last layer, its targets, and the losses and metrics that suit them."""

    units: int
    activation: str | None
    targets: Callable[[np.random.Generator, tuple], np.ndarray]
    losses: dict[str, Callable[[], Any]]
    metrics: dict[str, Callable[[], Any]]
    classes: int | None = None


REGRESSION = named(
    metrics,
    *("MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError"),
    *("MeanSquaredLogarithmicError", "CosineSimilarity", "LogCoshError", "R2Score", "Poisson"),
    *("PearsonCorrelation", "ConcordanceCorrelation"),
)
REGRESSION |= {
    **text("mae", "mse"),
    "own function": lambda: own_metric,
    "own class": Largest,
    "MeanMetricWrapper": lambda: metrics.MeanMetricWrapper(losses.huber, name="wrapped"),
}

HEADS = {
    "numbers": Head(
        2,
        None,
        lambda rng, shape: rng.normal(size=shape).astype("float32"),
        {
            **text("mse", "mae", "log_cosh", "huber", "cosine_similarity"),
            **named(losses, "MeanSquaredError", reduction="sum"),
            **named(losses, "MeanSquaredError", "MeanAbsoluteError", reduction="mean_with_sample_weight"),
            **named(losses, "Huber", delta=0.5),
            **named(losses, "CosineSimilarity", axis=-1),
            "own function": lambda: own_loss,
            "own class": OwnLoss,
        },
        REGRESSION,
    ),
    "one number": Head(
        1,
        None,
        lambda rng, shape: rng.normal(size=shape).astype("float32"),
        text("mse", "mae", "huber"),
        REGRESSION,
    ),
    "counts": Head(
        2,
        "softplus",
        lambda rng, shape: rng.poisson(2, shape).astype("float32"),
        text("poisson", "mean_squared_logarithmic_error", "mse", "mean_absolute_percentage_error"),
        REGRESSION,
    ),
    "yes or no": Head(
        1,
        "sigmoid",
        lambda rng, shape: rng.integers(0, 2, shape).astype("float32"),
        {
            **text("binary_crossentropy", "hinge", "squared_hinge", "mse"),
            **named(losses, "BinaryCrossentropy", label_smoothing=0.1),
            **named(losses, "BinaryFocalCrossentropy", apply_class_balancing=True),
            **named(losses, "Dice", "Tversky"),
        },
        {
            **text("accuracy", "Precision", "Recall", "AUC"),
            **named(metrics, "BinaryAccuracy", "BinaryCrossentropy", "Hinge", "SquaredHinge"),
            **named(metrics, "TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"),
            "AUC, curve PR": lambda: metrics.AUC(curve="PR", num_thresholds=20, name="area_pr"),
            "SensitivityAtSpecificity": lambda: metrics.SensitivityAtSpecificity(0.5),
            "SpecificityAtSensitivity": lambda: metrics.SpecificityAtSensitivity(0.5),
            "PrecisionAtRecall": lambda: metrics.PrecisionAtRecall(0.5),
            "RecallAtPrecision": lambda: metrics.RecallAtPrecision(0.5),
            "Precision, several thresholds": lambda: metrics.Precision([0.3, 0.5], name="precisions"),
            "BinaryIoU": lambda: metrics.BinaryIoU([0, 1]),
            "F1Score": lambda: metrics.F1Score(threshold=0.5),
        },
        classes=2,
    ),
    "several labels": Head(
        3,
        "sigmoid",
        lambda rng, shape: rng.integers(0, 2, shape).astype("int32"),
        {**text("binary_crossentropy", "binary_focal_crossentropy"), **named(losses, "Dice")},
        {
            **text("accuracy"),
            "AUC, several labels": lambda: metrics.AUC(multi_label=True, num_labels=3),
            "FBetaScore": lambda: metrics.FBetaScore(beta=0.7, threshold=0.5),
        },
    ),
    "one-hot classes": Head(
        3,
        "softmax",
        lambda rng, shape: np.eye(3, dtype="float32")[rng.integers(0, 3, shape[:-1])],
        {
            **text(
                "categorical_crossentropy",
                "categorical_focal_crossentropy",
                "kl_divergence",
                "categorical_hinge",
            ),
            **named(losses, "CategoricalCrossentropy", label_smoothing=0.1),
        },
        {
            **text("accuracy", "AUC", "Precision"),
            **named(
                metrics, "CategoricalAccuracy", "CategoricalCrossentropy", "CategoricalHinge", "KLDivergence"
            ),
            "TopKCategoricalAccuracy": lambda: metrics.TopKCategoricalAccuracy(2),
            "F1Score, macro": lambda: metrics.F1Score(average="macro"),
            "F1Score": lambda: metrics.F1Score(),
            "OneHotMeanIoU": lambda: metrics.OneHotMeanIoU(3),
            "OneHotIoU": lambda: metrics.OneHotIoU(3, [0, 2]),
            "Precision of a class": lambda: metrics.Precision(class_id=1, name="precision_of_1"),
        },
        classes=3,
    ),
    "classes": Head(
        3,
        "softmax",
        lambda rng, shape: rng.integers(0, 3, shape[:-1]),
        {
            **text("sparse_categorical_crossentropy"),
            **named(losses, "SparseCategoricalCrossentropy", ignore_class=1),
            **named(losses, "CategoricalGeneralizedCrossEntropy"),
        },
        {
            **text("accuracy"),
            **named(metrics, "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"),
            "SparseTopKCategoricalAccuracy": lambda: metrics.SparseTopKCategoricalAccuracy(2),
            "MeanIoU": lambda: metrics.MeanIoU(3, sparse_y_pred=False),
            "IoU": lambda: metrics.IoU(3, [0, 1], sparse_y_pred=False),
        },
        classes=3,
    ),
    "classes by logits": Head(
        3,
        None,
        lambda rng, shape: rng.integers(0, 3, shape[:-1])[..., None].astype("float32"),
        named(losses, "SparseCategoricalCrossentropy", from_logits=True),
        text("accuracy"),
        classes=3,
    ),
    "embeddings": Head(
        4,
        None,
        lambda rng, shape: rng.integers(0, 3, shape[:-1]),
        named(losses, "Circle"),
        {},
    ),
}
if BACKEND == "torch":  # Keras's history has the tensor in which validation continues to count
    for name in ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"):
        del HEADS["yes or no"].metrics[name]

OF_EACH_STEP = ("numbers", "one number", "yes or no", "one-hot classes", "classes")


# ---- optimizers ----------------------------------------------------------------------------------------

SCHEDULES = {
    "ExponentialDecay": lambda: optimizers.schedules.ExponentialDecay(0.02, 3, 0.5, staircase=True),
    "CosineDecay": lambda: optimizers.schedules.CosineDecay(0.02, 6, warmup_target=0.05, warmup_steps=2),
    "CosineDecayRestarts": lambda: optimizers.schedules.CosineDecayRestarts(0.02, 3),
    "PiecewiseConstantDecay": lambda: optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.05, 0.02, 0.01]),
    "PolynomialDecay": lambda: optimizers.schedules.PolynomialDecay(0.05, 5, cycle=True),
    "InverseTimeDecay": lambda: optimizers.schedules.InverseTimeDecay(0.05, 3, 0.5),
}
OPTIMIZERS = {
    "SGD": lambda **o: optimizers.SGD(**o),
    "SGD, momentum": lambda **o: optimizers.SGD(momentum=0.9, **o),
    "SGD, Nesterov": lambda **o: optimizers.SGD(momentum=0.9, nesterov=True, **o),
    "Adam": lambda **o: optimizers.Adam(**o),
    "Adam, AMSGrad": lambda **o: optimizers.Adam(amsgrad=True, **o),
    "RMSprop, centered": lambda **o: optimizers.RMSprop(momentum=0.5, centered=True, **o),
    "Adafactor, relative": lambda **o: optimizers.Adafactor(relative_step=True, **o),
    "MultiOptimizer": None,
    **{
        name: (lambda name=name, **o: getattr(optimizers, name)(**o))
        for name in dir(optimizers)
        if isinstance(getattr(optimizers, name), type)
        and name not in ("SGD", "Adam", "Optimizer", "OptimizerMap", "LossScaleOptimizer", "MultiOptimizer")
    },
}  # fmt: skip
if not hasattr(optimizers, "MultiOptimizer"):
    del OPTIMIZERS["MultiOptimizer"]
if keras.backend.backend() == "tensorflow":  # Keras does not initialize its state in a compiled step
    OPTIMIZERS.pop("ScheduleFreeAdamW", None)


def optimizer(c: Choices, model_layers: list[layers.Layer]) -> Any:
    make = c.of("optimizer", OPTIMIZERS)
    if make is None:
        last = f"{model_layers[-1].name}/.*"
        return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam(), {last: optimizers.SGD()}))
    options: dict[str, Any] = {}
    rate = c.of("learning rate", {"default": None, "0.01": 0.01, **SCHEDULES}, 0.4)
    if rate is not None:
        options["learning_rate"] = rate() if callable(rate) else rate
    clipping = {"None": {}, "clipnorm": {"clipnorm": 0.1}, "clipvalue": {"clipvalue": 0.05},
                "global_clipnorm": {"global_clipnorm": 0.1}}  # fmt: skip
    options |= c.of("clipping", clipping, 0.5)
    options |= c.of("weight decay", {"None": {}, "0.02": {"weight_decay": 0.02}}, 0.6)
    ema = {"None": {}, "EMA": {"use_ema": True, "ema_momentum": 0.9},
           "EMA, overwriting": {"use_ema": True, "ema_overwrite_frequency": 2}}  # fmt: skip
    options |= c.of("moving average", ema, 0.7)
    accumulation = {"None": {}, **{str(n): {"gradient_accumulation_steps": n} for n in (2, 3)}}
    options |= c.of("gradient accumulation", accumulation, 0.7)
    options |= c.of("scaled loss", {"None": {}, "4": {"loss_scale_factor": 4.0}}, 0.85)
    made = make(**options)
    if c.of("loss scaling", [False, True], 0.9):
        made = optimizers.LossScaleOptimizer(made, initial_scale=64.0, dynamic_growth_steps=3)
    return made


# ---- classes of models ---------------------------------------------------------------------------------


def own_train_step(base: type[keras.Model]) -> type[keras.Model]:
    class OwnTrainStep(base):
        """Reports its own value in addition to Keras's."""

        def train_step(self, *args):
            answer = super().train_step(*args)
            logs, state = answer if BACKEND == "jax" else (answer, None)
            logs = {**logs, "twice_the_loss": 2 * logs["loss"]}
            return (logs, state) if BACKEND == "jax" else logs

    return OwnTrainStep


def own_test_step(base: type[keras.Model]) -> type[keras.Model]:
    class OwnTestStep(base):
        def test_step(self, *args):
            answer = super().test_step(*args)
            logs, state = answer if BACKEND == "jax" else (answer, None)
            logs = {**logs, "half_the_loss": 0.5 * logs["loss"]}
            return (logs, state) if BACKEND == "jax" else logs

    return OwnTestStep


def own_compute_loss(base: type[keras.Model]) -> type[keras.Model]:
    class OwnComputeLoss(base):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
            return loss + 0.01 * sum(ops.mean(ops.square(p)) for p in keras.tree.flatten(y_pred))

    return OwnComputeLoss


def own_metrics(base: type[keras.Model]) -> type[keras.Model]:
    class OwnMetrics(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.average = keras.metrics.Mean(name="average")

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            self.average.update_state(keras.tree.flatten(y_pred)[0])
            logs = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**logs, "average": self.average.result()}

    return OwnMetrics


def written_train_step(base: type[keras.Model]) -> type[keras.Model]:
    """Return a class whose training step is written out, as in Keras's guides for each backend."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        class Written(base):
            def train_step(self, data):
                x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
                with tf.GradientTape() as tape:
                    y_pred = self(x, training=True)
                    loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
                gradients = tape.gradient(loss, self.trainable_variables)
                self.optimizer.apply(gradients, self.trainable_variables)
                return written_logs(self, loss, y, y_pred)

    elif BACKEND == "torch":
        import torch

        class Written(base):
            def train_step(self, data):
                x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
                self.zero_grad()
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
                loss.backward()
                gradients = [v.value.grad for v in self.trainable_weights]
                with torch.no_grad():
                    self.optimizer.apply(gradients, list(self.trainable_weights))
                return written_logs(self, loss, y, y_pred)

    else:
        import jax

        class Written(base):
            def loss_of(self, trainable, non_trainable, x, y, sample_weight):
                y_pred, non_trainable = self.stateless_call(trainable, non_trainable, x, training=True)
                loss = self.compute_loss(x, y, y_pred, sample_weight)
                return loss, (y_pred, non_trainable)

            def train_step(self, state, data):
                trainable, non_trainable, of_optimizer, of_metrics = state
                x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
                gradient = jax.value_and_grad(self.loss_of, has_aux=True)
                (loss, (y_pred, non_trainable)), gradients = gradient(
                    trainable, non_trainable, x, y, sample_weight
                )
                trainable, of_optimizer = self.optimizer.stateless_apply(of_optimizer, gradients, trainable)
                logs, new = {}, []
                for metric in self.metrics:
                    own = of_metrics[len(new) : len(new) + len(metric.variables)]
                    if metric.name == "loss":
                        own = metric.stateless_update_state(own, loss)
                        logs["loss"] = metric.stateless_result(own)
                    new += own
                logs["largest_prediction"] = sum(ops.max(p) for p in keras.tree.flatten(y_pred))
                return logs, (trainable, non_trainable, of_optimizer, new)

    return Written


def written_logs(model: keras.Model, loss: Any, y: Any, y_pred: Any) -> dict[str, Any]:
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss)
    return {"loss": model.metrics[0].result(), "largest": sum(ops.max(p) for p in keras.tree.flatten(y_pred))}


CLASSES: dict[str, Callable[[type[keras.Model]], type[keras.Model]]] = {
    "Model": lambda base: base,
    "own train_step": own_train_step,
    "own test_step": own_test_step,
    "own compute_loss": own_compute_loss,
    "own compute_metrics": own_metrics,
    "train_step written out": written_train_step,
}


def subclass(base: type[keras.Model]) -> type[keras.Model]:
    """Return a class that calls layers in order, and whose inputs are unknown before the first call."""

    class InOrder(base):
        def __init__(self, parts: list[layers.Layer]):
            super().__init__()
            self.parts = parts

        def call(self, x, training=False):
            for part in self.parts:
                x = part(x)
            return x

    return InOrder


# ---- models --------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A compiled model and its data, as numpy arrays nested as the model takes them.

    ``classes`` is their number, if class weights can be given. ``for_keras`` says that Keras will train the
    model, which needs some data in another form; ``has_schedule`` says that the learning rate cannot be set.
    """

    model: keras.Model
    x: Any
    y: Any
    sample_weight: Any
    classes: int | None
    for_keras: bool
    has_schedule: bool


STRUCTURES = (
    *("functional", "sequential", "sequential, not built", "subclass", "nested", "residual"),
    *("two inputs", "named inputs", "shared"),
)


def build(c: Choices, for_keras: bool) -> Case:
    """Build a random compiled model with data; equal choices give equal models."""
    kind = c.of("input", {name: name for name in INPUTS})
    structure = c.of("structure", STRUCTURES)
    sequential = structure.startswith("sequential")
    base = c.of("class", CLASSES, 0.6)(keras.Sequential if sequential else keras.Model)
    inputs, tensor, parts = trunk(c, "first", kind)
    kinds, x_tensors = [kind], inputs
    pieces = flat(tensor, c, "first")
    several = structure in ("two inputs", "named inputs", "shared")
    each_step = (
        not several
        and len(tensor.shape) == 3
        and tensor.shape[1] is not None
        and structure != "residual"
        and c.of("an output for each time step", [False, True])
    )
    if not each_step:
        for piece in pieces:
            tensor = piece(tensor)
        parts += pieces
    if structure == "nested":
        inner = keras.Model(inputs, tensor)
        inputs = keras.Input(INPUTS[kind].shape, dtype=INPUTS[kind].dtype, name="outer")
        tensor, parts, x_tensors = inner(inputs), [inner], inputs
    elif structure == "residual":
        tensor = layers.Dense(4)(tensor)
        tensor = c.of("merge", MERGES)()([tensor, layers.Dense(4, "tanh")(tensor)])
    elif structure == "shared":
        other = keras.Input(INPUTS[kind].shape, dtype=INPUTS[kind].dtype, name="second")
        again = other
        for part in parts:
            again = part(again)
        tensor = c.of("merge", MERGES)()([tensor, again])
        kinds, x_tensors = [kind, kind], [inputs, other]
    elif several:
        kinds.append(c.of("second input", {name: name for name in INPUTS}))
        second, again, _ = trunk(c, "second", kinds[1], most=1)
        for piece in flat(again, c, "second"):
            again = piece(again)
        tensor = c.of("merge", MERGES)()([layers.Dense(4)(tensor), layers.Dense(4)(again)])
        x_tensors = {"first": inputs, "second": second} if structure == "named inputs" else [inputs, second]

    count = 1 if sequential or structure == "subclass" else c.of("outputs", [1, 2], 0.6)
    names, last_layers, chosen = [], [], []
    for number in range(1, count + 1):
        heads = {k: h for k, h in HEADS.items() if not each_step or k in OF_EACH_STEP}
        label = c.of(f"output {number}", {name: name for name in heads})
        head = heads[label]
        names.append(f"out_{number}")
        chosen.append(head)
        last_layers.append(layers.Dense(head.units, activation=head.activation, name=names[-1]))
    outputs = [layer(tensor) for layer in last_layers]
    steps = (tensor.shape[1],) if each_step else ()

    if structure == "subclass":
        model = subclass(base)([*parts, *last_layers])
    elif sequential:
        start = [keras.Input(INPUTS[kind].shape, dtype=INPUTS[kind].dtype)]
        model = base([*(start if structure == "sequential" else []), *parts, *last_layers])
    elif count == 1:
        model = base(x_tensors, outputs[0])
    else:
        how = c.of("outputs are", ["a list", "named"])
        model = base(x_tensors, outputs if how == "a list" else dict(zip(names, outputs, strict=True)))
    freeze(c, model)
    compile_model(c, model, chosen, names)

    def draw(name: str, make: Callable, *shape: int) -> np.ndarray:
        return make(c.rng(name), (SAMPLES, *shape))

    data = [
        draw(f"data {i}", INPUTS[k].draw, *(INPUTS[k].data_shape or INPUTS[k].shape))
        for i, k in enumerate(kinds)
    ]
    targets = [draw(f"targets {i}", head.targets, *steps, head.units) for i, head in enumerate(chosen)]
    weights = [c.rng(f"weights {i}").uniform(0, 2, (SAMPLES, *steps)) for i in range(count)]
    x = data[0] if len(kinds) == 1 else dict(zip(["first", "second"], data, strict=True))
    if len(kinds) == 2 and structure != "named inputs":
        x = data
    like_outputs = isinstance(getattr(model, "output", None), dict) if count > 1 else False

    def nested(values: list) -> Any:
        return values[0] if count == 1 else dict(zip(names, values, strict=True)) if like_outputs else values

    has_schedule = c.made.get("learning rate") in SCHEDULES or c.made["optimizer"] == "MultiOptimizer"
    classes = chosen[0].classes if count == 1 and not each_step else None
    return Case(model, x, nested(targets), nested(weights), classes, for_keras, has_schedule)


def freeze(c: Choices, model: keras.Model) -> None:
    how = c.of("frozen", ["nothing", "first layer with weights", "all but the last layer"], 0.7)
    if how == "first layer with weights":
        for layer in [layer for layer in model.layers if layer.trainable_weights][:1]:
            layer.trainable = False
    elif how == "all but the last layer":
        for layer in model.layers[:-1]:
            layer.trainable = False


def compile_model(c: Choices, model: keras.Model, heads: list[Head], names: list[str]) -> None:
    loss = [c.of(f"loss {i}", head.losses)() for i, head in enumerate(heads, start=1)]
    measured = [[m() for m in c.several(f"metrics {i}", h.metrics, 2)] for i, h in enumerate(heads, start=1)]
    weighted = [
        [m() for m in c.several(f"weighted metrics {i}", h.metrics, 1)] for i, h in enumerate(heads, start=1)
    ]
    options: dict[str, Any] = {}
    if len(heads) == 1:
        options = {"loss": loss[0], "metrics": measured[0] or None, "weighted_metrics": weighted[0] or None}
        if c.of("loss weight", [False, True], 0.9):
            options["loss_weights"] = 0.5
    elif c.of("compiled by name", [True, False]) and isinstance(model.output, dict):
        options = {
            "loss": dict(zip(names, loss, strict=True)),
            "metrics": {n: m for n, m in zip(names, measured, strict=True) if m} or None,
            "weighted_metrics": {n: m for n, m in zip(names, weighted, strict=True) if m} or None,
        }
        if c.of("loss weights", [False, True]):
            options["loss_weights"] = {names[0]: 0.3, names[1]: 2.0}
    elif isinstance(model.output, dict):
        options = {"loss": dict(zip(names, loss, strict=True))}
    else:
        options = {"loss": loss, "metrics": measured, "weighted_metrics": weighted}
        if c.of("loss weights", [False, True]):
            options["loss_weights"] = [0.3, 2.0]
    options |= c.of("jit_compile", {"auto": {}, "False": {"jit_compile": False}}, 0.85)
    options |= c.of("run_eagerly", {"False": {}, "True": {"run_eagerly": True}}, 0.95)
    if BACKEND != "torch":  # Keras raises an error there
        options |= c.of(
            "steps_per_execution", {"1": {}, **{str(n): {"steps_per_execution": n} for n in (2, 3)}}, 0.8
        )
    options |= c.of("auto_scale_loss", {"True": {}, "False": {"auto_scale_loss": False}}, 0.9)
    model.compile(optimizer(c, model.layers), **options)


def layers_of(model: keras.Model) -> Iterator[str]:
    """Yield the class names of all layers in a model."""
    for layer in model._flatten_layers(include_self=False):
        yield type(layer).__name__


def compile_again(model: keras.Model) -> None:
    """Compile a model with the same arguments as before, but a new optimizer."""
    model.compile(optimizers.SGD(0.01), model.loss)
