"""The base class of data readers, which returns data unchanged."""

from __future__ import annotations

from typing import Any

from kerasfit.data.names import Names


class Reader:
    """Converts data for a model. This base class returns data unchanged; subclasses know a model.

    Attributes
    ----------
    allow_missing
        Whether numbers may be NaN or infinite.
    samples_in_batch
        The number of samples that each batch must have; None if it may have any.
    """

    allow_missing = False

    @property
    def samples_in_batch(self) -> int | None:
        return None

    def inputs(self, label: str, x: Any) -> Any:
        return x

    def columns_of(self, available: list[str]) -> list[str]:
        """Which columns of a table are inputs of the model."""
        return available

    def check(self, names: Names, x: Any, y: Any) -> None:
        """Raise a ``DataError`` if the type or the values of arrays are wrong for the model."""

    def batch_size_for(self, names: Names, given: int | None, samples: int) -> int | None:
        """The batch size for ``samples`` samples: the one given, or the model's; None if there is neither."""
        return given

    def check_batch(self, label: str, x: Any) -> None:
        """Raise a ``DataError`` for a batch whose size is not ``samples_in_batch``."""

    def check_weights(self, label: str, sample_weight: Any, y: Any) -> None:
        """Raise a ``DataError`` for weights whose shape does not fit the losses."""

    def targets(self, label: str, y: Any) -> Any:
        return y

    def weights(self, label: str, sample_weight: Any, y: Any = None) -> Any:
        """Convert sample weights; y are the targets that ``targets`` returned."""
        return sample_weight


PLAIN_READER = Reader()
