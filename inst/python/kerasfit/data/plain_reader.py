"""The reader of data for callers without a model."""

from __future__ import annotations

from typing import Any

from kerasfit.data.names import Names


class Reader:
    """Says what data mean to a model. This one takes all as it is; ``ModelData`` knows a model.

    Attributes
    ----------
    allow_missing
        Whether numbers may be NaN or infinite.
    samples_in_batch
        How many samples each batch must have, where it must; arrays are cut into such, by ``batch_size``.
    """

    allow_missing = False
    samples_in_batch: int | None = None

    def inputs(self, label: str, x: Any) -> Any:
        return x

    def check(self, names: Names, x: Any, y: Any) -> None:
        """Raise a ``DataError`` if arrays are of a kind, or have values, that the model cannot take."""

    def batch_size_for(self, names: Names, given: int | None, samples: int) -> int | None:
        """The number of samples in a step on arrays of so many; None if the model does not say."""
        return given

    def check_batch(self, label: str, x: Any) -> None:
        """Raise a ``DataError`` for a batch of another size than ``samples_in_batch``."""

    def check_weights(self, label: str, sample_weight: Any, y: Any) -> None:
        """Raise a ``DataError`` for weights of a shape that the losses do not take."""

    def targets(self, label: str, y: Any) -> Any:
        return y

    def weights(self, label: str, sample_weight: Any, y: Any = None) -> Any:
        """Sample weights for the targets that ``targets`` has given."""
        return sample_weight


AS_IT_IS = Reader()
