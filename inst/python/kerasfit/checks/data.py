"""Checks the data before a run, and once the first batch has built the model."""

from __future__ import annotations

from kerasfit.checks.shapes import check_targets
from kerasfit.data.reader import ModelData
from kerasfit.engines import Engine
from kerasfit.error_context import error_context
from kerasfit.errors import ArgumentError
from kerasfit.sources import Source, Stream


def check_end(source: Source, argument: str, steps: int | None) -> None:
    """Raise an error for data that never end if ``argument``, the number of steps, is missing."""
    if source.endless and steps is None:
        raise ArgumentError(
            argument,
            f"`{argument}` is missing: the data never end.",
            f"Give the number of batches, or {argument} = -1 to continue without end.",
        )


def prepare(engine: Engine, reader: ModelData, *streams: Stream) -> None:
    """Build the model and its training state, then check the data against its outputs.

    The first stream is the one to train or evaluate on.
    """
    known = reader.knows_outputs
    with error_context(batch=1):  # the model is traced with batch 1
        engine.prepare(streams[0])
    for source in [stream.source for stream in streams]:
        if source.example is not None and not known:
            reader.check(source.names, source.example.x, source.example.y)
            reader.check_weights(source.names.sample_weight, source.example.sample_weight, source.example.y)
        check_targets(reader.model, source)
