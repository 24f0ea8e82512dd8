"""Batches from Arrow datasets: Parquet files, which may be larger than memory.

The rows of a pass come in windows: some row groups are read together, and their rows are put into a random
order. The order of the row groups, and that of the rows in each window, depend only on the seed and on the
number of the pass. So a pass can begin at any batch without reading what comes before it.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasfit.arguments import DEFAULT_BATCH_SIZE
from kerasfit.data.arrays import as_tensors, check_are_numbers
from kerasfit.data.class_weights import ClassWeighting
from kerasfit.data.names import NAMES, Batch, Names
from kerasfit.data.plain_reader import PLAIN_READER, Reader
from kerasfit.errors import ArgumentError, DataError, StateError
from kerasfit.messages import describe, listed, quoted
from kerasfit.object_origin import package_of
from kerasfit.sources.source import Shuffling, weighted
from kerasfit.tensors import map_leaves

WINDOW_BYTES = 2**26  # of a window in memory, unless one row group is larger
INDEX_OF_PANDAS = "__index_level_"  # how the names of columns begin that pandas stores for its row names


def is_arrow(value: Any) -> bool:
    """Whether a value is an Arrow dataset, the name of a Parquet file, or the path of a folder with some.

    The file of a name need not exist. Other text may be the input of a model.
    """
    if isinstance(value, Path):
        return True
    if isinstance(value, str):
        files = Path(value).rglob("*") if os.path.isdir(value) else [value]
        return any(str(file).endswith((".parquet", ".pq")) for file in files)
    return any(cls.__name__ == "Dataset" and package_of(cls) == "pyarrow" for cls in type(value).__mro__)


def open_dataset(value: Any, label: str = "x") -> Any:
    """The ``pyarrow.dataset.Dataset`` of Parquet files in a list, or of what ``is_arrow`` accepts."""
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise StateError(
            "Arrow datasets and Parquet files need the Python package pyarrow.",
            hint='Call `reticulate::py_require("pyarrow")` before Keras loads, or `pip install pyarrow`.',
        ) from error
    if not isinstance(value, (str, Path, list)):
        return value
    if not isinstance(value, list) and not os.path.exists(value):
        raise DataError(label, f"`{label}` names a file that does not exist: {value}.")
    try:
        dataset = pyarrow.dataset.dataset(value, format="parquet", partitioning="hive")
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(label, f"`{label}`, {value}, cannot be read as Parquet: {error}") from error
    if not dataset.files:
        raise DataError(label, f"`{label}`, the folder {value}, has no Parquet files.")
    return dataset


@dataclass(frozen=True)
class Piece:
    """The rows ``start`` to ``stop`` of a row group, which is a fragment of the dataset."""

    group: Any
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


class ArrowRows:
    """The rows of a dataset, or some consecutive ones: which columns are inputs, targets and weights.

    Parameters
    ----------
    value
        A dataset or a path, for which ``is_arrow`` is true.
    y, sample_weight
        The names of the columns of targets, and of weights; None if there are none. All other columns are
        inputs, unless the reader knows those of the model.

    Raises
    ------
    DataError
        If the dataset has no rows, or no such columns, or is filtered.
    """

    def __init__(
        self,
        value: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        names: Names = NAMES,
        reader: Reader = PLAIN_READER,
    ):
        self.names, self.reader = names, reader
        self.dataset = open_dataset(value, names.x)
        known = [name for name in self.dataset.schema.names if not name.startswith(INDEX_OF_PANDAS)]
        self.targets = columns(names.y, y, known)
        self.weights = columns(names.sample_weight, sample_weight, known)
        used = {*self.targets, *self.weights}
        self.inputs = reader.columns_of([name for name in known if name not in used])
        if not self.inputs:
            raise DataError(names.x, f"`{names.x}` has no columns other than {listed(quoted(used))}.")
        self.pieces = [*pieces_of(self.dataset, names.x)]
        if not self.samples:
            raise DataError(names.x, f"`{names.x}` has no rows.")

    @property
    def samples(self) -> int:
        return sum(piece.rows for piece in self.pieces)

    def part(self, start: int, stop: int) -> ArrowRows:
        """The rows ``start`` to ``stop``, in the order of the files."""
        part = object.__new__(ArrowRows)
        vars(part).update(vars(self))
        part.pieces, at = [], 0
        for piece in self.pieces:
            first, last = max(start - at, 0), min(stop - at, piece.rows)
            if first < last:
                part.pieces.append(replace(piece, start=piece.start + first, stop=piece.start + last))
            at += piece.rows
        return part

    @cached_property
    def levels(self) -> dict[str, list]:
        """The levels of each column that is a factor (a dictionary in Arrow), in all files."""
        import pyarrow as pa

        factors = [
            name
            for name in (*self.inputs, *self.targets)
            if pa.types.is_dictionary(self.dataset.schema.field(name).type)
        ]
        levels: dict[str, dict] = {name: {} for name in factors}
        for batch in self.dataset.to_batches(columns=factors) if factors else ():
            for name in factors:
                levels[name].update(dict.fromkeys(batch.column(name).dictionary.to_pylist()))
        return {name: [*found] for name, found in levels.items()}

    def read(self, pieces: Sequence[Piece]) -> Batch:
        """Read some rows and convert them for the model."""
        import pyarrow as pa

        wanted = [*self.inputs, *self.targets, *self.weights]
        tables = [
            piece.group.to_table(schema=self.dataset.schema, columns=wanted).slice(piece.start, piece.rows)
            for piece in pieces
        ]
        table = with_plain_numbers(pa.concat_tables(tables)).unify_dictionaries()
        frame = table.to_pandas(ignore_metadata=True)
        for name, levels in self.levels.items():
            if name in wanted:
                frame[name] = frame[name].cat.set_categories(levels)
        names, reader = self.names, self.reader
        x = reader.inputs(names.x, frame[self.inputs])
        y = reader.targets(names.y, frame[self.targets]) if self.targets else None
        weight = frame[self.weights[0] if len(self.weights) == 1 else self.weights] if self.weights else None
        parts = x, y, reader.weights(names.sample_weight, weight, y)
        x, y, weight = (
            as_tensors(label, part, allow_missing=reader.allow_missing)
            for label, part in zip(names[:3], parts, strict=True)
        )
        check_are_numbers(names.y, y)
        reader.check(names, x, y)
        reader.check_weights(names.sample_weight, weight, y)
        return Batch(x, y, weight)

    @property
    def facts(self) -> int:
        """A checksum of the names and sizes of the files, and of the columns used."""
        paths = getattr(self.dataset, "files", [])
        files = [(os.path.basename(path), os.path.getsize(path)) for path in paths]
        rows = [(piece.start, piece.stop) for piece in self.pieces]
        return zlib.crc32(repr((files, rows, self.inputs, self.targets, self.weights)).encode())


class ArrowSource:
    """Makes batches of the rows of an Arrow dataset, and reads the next window on another thread.

    Parameters
    ----------
    rows
        The rows of a pass.
    shuffle
        Whether the row groups, and the rows in each window, get a new order each pass.
    class_weight
        Multiplied into the sample weights.
    """

    endless = passes_continue = False
    example: Batch | None = None

    def __init__(
        self,
        rows: ArrowRows,
        *,
        batch_size: int | None = None,
        shuffle: bool = False,
        class_weight: ClassWeighting | None = None,
    ):
        if class_weight is not None and not rows.targets:
            raise ArgumentError("class_weight", "`class_weight` needs targets: `y` is missing.")
        self.rows = rows
        self.names = rows.names
        self.class_weight = class_weight
        self.samples = rows.samples
        known = rows.reader.batch_size_for(rows.names, batch_size, self.samples)
        self.batch_size = known or DEFAULT_BATCH_SIZE
        self.batches = math.ceil(self.samples / self.batch_size)
        self.shuffling = Shuffling(shuffle)

    def __iter__(self) -> Iterator[Batch]:
        return self.begin_pass()

    def begin_pass(self, batch: int = 0) -> Iterator[Batch]:
        """Start a pass at a batch, counted from 0, without reading the windows before it."""
        self.shuffling.passes += 1
        return self._batches(self.shuffling.passes - 1, batch * self.batch_size)

    def _batches(self, number: int, first: int) -> Iterator[Batch]:
        size = self.batch_size
        rest: Batch | None = None  # rows of the last windows that do not fill a batch
        for start, window in self._windows(number, first):
            at, end = max(0, first - start), length_of(window)
            if rest is not None:
                missing = size - length_of(rest)
                rest = joined(rest, rows_of(window, slice(at, at + missing)))
                at += missing
                if length_of(rest) < size:
                    continue
                yield self._weighted(rest)
            whole = at + (end - at) // size * size
            for first_row in range(at, whole, size):
                yield self._weighted(rows_of(window, slice(first_row, first_row + size)))
            rest = rows_of(window, slice(whole, end)) if whole < end else None
        if rest is not None:
            yield self._weighted(rest)

    def _weighted(self, batch: Batch) -> Batch:
        self.example = batch._replace(sample_weight=weighted(batch.sample_weight, self.class_weight, batch.y))
        return self.example

    def _windows(self, number: int, first: int) -> Iterator[tuple[int, Batch]]:
        """The windows of a pass from the one with row ``first``, each with the number of its first row."""
        wanted = [window for window in self._plan(number) if window[0] + window[1] > first]
        with ThreadPoolExecutor(1, thread_name_prefix="kerasfit-arrow") as reader:
            ahead: Future | None = None
            for position, (start, *_) in enumerate(wanted):
                window = ahead or reader.submit(self._read, number, *wanted[position])
                is_last = position + 1 == len(wanted)
                ahead = None if is_last else reader.submit(self._read, number, *wanted[position + 1])
                yield start, window.result()

    def _plan(self, number: int) -> Iterator[tuple[int, int, int, list[Piece]]]:
        """For each window of a pass: its first row, its rows, its number, and what to read."""
        pieces = self.rows.pieces
        order = self.shuffling.order(number, len(pieces))
        bytes_of_row = 8 * (len(self.rows.inputs) + len(self.rows.targets) + len(self.rows.weights))
        window: list[Piece] = []
        start = rows = windows = 0
        for index in range(len(pieces)) if order is None else order:
            window.append(pieces[index])
            rows += pieces[index].rows
            if rows * bytes_of_row >= WINDOW_BYTES:
                yield start, rows, windows, window
                start, rows, windows, window = start + rows, 0, windows + 1, []
        if window:
            yield start, rows, windows, window

    def _read(self, number: int, start: int, rows: int, window: int, pieces: list[Piece]) -> Batch:
        batch = self.rows.read(pieces)
        if self.shuffling.seed is None:
            return batch
        order = np.random.default_rng((self.shuffling.seed, number, window)).permutation(rows)
        return rows_of(batch, order)


def columns(label: str, given: Any, known: list[str]) -> list[str]:
    """The names of columns given as an argument: a name or several."""
    if given is None:
        return []
    names = [given] if isinstance(given, str) else given
    is_names = isinstance(names, (list, tuple, np.ndarray)) and all(isinstance(name, str) for name in names)
    if not is_names or not len(names):
        raise DataError(
            label,
            f"`{label}` must be names of columns of the dataset, not {describe(given)}.",
            f"Its columns are {listed(known)}.",
        )
    names = [str(name) for name in names]
    if unknown := [name for name in names if name not in known]:
        raise DataError(
            label,
            f"`{label}` names {listed(quoted(unknown))}, which the dataset does not have.",
            f"Its columns are {listed(known)}.",
        )
    return names


def pieces_of(dataset: Any, label: str) -> Iterator[Piece]:
    """The row groups of a dataset, in the order of its files."""
    try:
        fragments = dataset.get_fragments()
    except ValueError as error:  # its rows could not be counted without reading them
        raise DataError(
            label,
            f"`{label}` is a dataset that filters its rows or computes columns.",
            "Write them to Parquet files first, with `pyarrow.dataset.write_dataset()`.",
        ) from error
    for fragment in fragments:
        if not hasattr(fragment, "split_by_row_group"):  # not of Parquet
            if rows := fragment.count_rows():
                yield Piece(fragment, 0, rows)
            continue
        for group in fragment.split_by_row_group():
            if rows := sum(each.num_rows for each in group.row_groups):
                yield Piece(group, 0, rows)


def with_plain_numbers(table: Any) -> Any:
    """A table whose decimal numbers, which numpy does not have, are doubles."""
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(position, field.name, table.column(position).cast(pa.float64()))
    return table


def rows_of(batch: Batch, rows: slice | np.ndarray) -> Batch:
    def take(leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, np.ndarray) or isinstance(rows, slice):
            return None if leaf is None else leaf[rows]
        return keras.ops.take(leaf, rows, axis=0)  # text

    return Batch(*map_leaves(take, tuple(batch)))


def length_of(batch: Batch) -> int:
    return next(len(leaf) for leaf in keras.tree.flatten(batch.x) if leaf is not None)


def joined(first: Batch, second: Batch) -> Batch:
    def join(one: Any, other: Any) -> Any:
        if isinstance(one, np.ndarray):
            return np.concatenate([one, other])
        return None if one is None else keras.ops.concatenate([one, other])

    return Batch(*keras.tree.map_structure(join, tuple(first), tuple(second)))
