"""Converts R values from rpy2 to values of the core, and a history to an R object.

``kerasfit.fit()`` accepts R values as arguments, with the same meaning as in R.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rpy2.rinterface as ri
import rpy2.robjects as ro

from kerasfit.bridges.values import Generator, data_frame, factor, sparse_matrix
from kerasfit.callbacks.callback_list import HOOKS
from kerasfit.errors import ArgumentError, DataError
from kerasfit.history import History
from kerasfit.sources.iterators import never_ends
from kerasfit.tensors import MISSING, MISSING_VALUES, not_finite_in_columns

DATA = ("x", "y", "sample_weight", "validation_data")
NUMBERS = (ri.FloatSexpVector, ri.IntSexpVector, ri.BoolSexpVector, ri.ByteSexpVector)
TIMES = {"Date", "POSIXt", "difftime"}


def is_of_r(value: Any) -> bool:
    return isinstance(value, ri.Sexp)


def from_r(name: str, value: Any) -> Any:
    """Convert the argument with this name for the core; values that are not R's are returned unchanged."""
    return data_from_r(name, value) if name in DATA else plain_from_r(name, value)


def data_from_r(label: str, value: Any) -> Any:
    """Convert data: vectors and arrays to numpy, factors and data frames to pandas, lists to lists or dicts.

    Arrays share R's memory if R stores the numbers in the type that the core needs.

    Raises
    ------
    ArgumentError, DataError
        If a value cannot be trained on, or integers, logicals or text are missing (NA).
    """
    if isinstance(value, Iterator):
        return ConvertedBatches(label, value)
    if not is_of_r(value):
        return within_containers(label, value, data_from_r)
    classes = set(value.rclass)
    if value.typeof == ri.RTYPES.NILSXP:
        return None
    if isinstance(value, ri.SexpClosure):
        return generator_from_r(label, value)
    if "factor" in classes:
        return factor(array_from_r(value), list(value.do_slot("levels")))
    if "data.frame" in classes:
        return data_frame_from_r(label, value)
    if "ArrowTabular" in classes:
        return data_from_r(label, ro.r["as.data.frame"](value))
    if isinstance(value, ri.SexpS4) and ro.r["is"](value, "sparseMatrix")[0]:
        return sparse_from_r(value)
    if classes & TIMES:
        raise refused(
            label,
            value,
            "Convert it to numbers on a scale suitable for training, for example with `as.numeric()`.",
        )
    if value.typeof == ri.RTYPES.CPLXSXP:
        raise refused(label, value, "Convert it to numbers, for example with `Mod()`.")
    if "integer64" in classes:
        return data_from_r(label, doubles_of_integer64(value))
    if is_object(value):
        load_r_package()
        plain = ro.r("kerasfit:::strip_class")(value)
        if plain is ro.NULL:
            raise refused(
                label,
                value,
                "Convert it to a vector, matrix or array, for example with `as.matrix()` or `as.numeric()`, "
                "or to a list of these.",
            )
        return data_from_r(label, plain)
    if isinstance(value, ri.ListSexpVector):
        return list_from_r(label, value, data_from_r)
    if isinstance(value, NUMBERS):
        check_missing(label, value)
        return array_from_r(value)
    if isinstance(value, ri.StrSexpVector):
        check_missing(label, value)
        return np.array(list(value)).reshape(dim_of(value), order="F")
    raise refused(label, value, "Give a vector, matrix, array or a list of them.")


def plain_from_r(argument: str, value: Any) -> Any:
    """Convert an argument other than data: a vector of length 1 to a scalar, others to lists or dicts."""
    if not is_of_r(value):
        return within_containers(argument, value, plain_from_r)
    if value.typeof == ri.RTYPES.NILSXP:
        return None
    if "integer64" in value.rclass:
        return plain_from_r(argument, doubles_of_integer64(value))
    if isinstance(value, ri.ListSexpVector):
        return list_from_r(argument, value, plain_from_r)
    if isinstance(value, ri.SexpClosure):
        return function_from_r(value, argument.rpartition("$")[2])
    if not isinstance(value, (*NUMBERS, ri.StrSexpVector)):
        return value
    if is_missing(value).any():
        raise ArgumentError(argument, f"`{argument}` must not be NA.")
    elements = list(value)
    if names := names_of(value):
        check_once(argument, names)
        return dict(zip(names, elements, strict=True))
    return elements[0] if len(elements) == 1 else elements


def within_containers(label: str, value: Any, convert: Callable[[str, Any], Any]) -> Any:
    """Convert the R values in a Python list, tuple or dict."""
    if isinstance(value, dict):
        return {name: convert(f"{label}${name}", element) for name, element in value.items()}
    if type(value) in (list, tuple):
        return type(value)(convert(f"{label}[[{i}]]", element) for i, element in enumerate(value, start=1))
    return value


def list_from_r(label: str, value: ri.ListSexpVector, convert: Callable[[str, Any], Any]) -> list | dict:
    names = names_of(value)
    if not names:
        return [convert(f"{label}[[{i}]]", element) for i, element in enumerate(value, start=1)]
    if not all(names):
        raise ArgumentError(label, f"`{label}` is a list with some elements named and others not.")
    check_once(label, names)
    return {name: convert(f"{label}${name}", element) for name, element in zip(names, value, strict=True)}


def names_of(value: ri.Sexp) -> list[str]:
    names = ro.r["names"](value)  # R's names() also works for tables, whose names are their dimnames
    return [] if names.typeof == ri.RTYPES.NILSXP else [str(name) for name in names]


def check_once(argument: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(argument, f'`{argument}` names "{name}" more than once.')


# ---- arrays ----------------------------------------------------------------------------------------


class Memory:
    """Gives numpy access to R's memory, and keeps the R object that owns it alive."""

    def __init__(self, owner: ri.SexpVector):
        view = np.asarray(owner.memoryview())
        self.owner = owner
        self.__array_interface__ = dict(view.__array_interface__, strides=view.strides)


def array_from_r(value: ri.SexpVector) -> np.ndarray:
    """Return an R vector or array as a numpy view of R's memory; logicals are converted to booleans."""
    if isinstance(value, ri.ByteSexpVector):  # rpy2 has no view of raw vectors
        return np.frombuffer(bytes(value), np.uint8).astype(np.int32).reshape(dim_of(value), order="F")
    array = np.asarray(Memory(value)) if len(value) else np.empty(dim_of(value), np.float64)
    return array.astype(bool) if isinstance(value, ri.BoolSexpVector) else array


def dim_of(value: ri.SexpVector) -> tuple[int, ...]:
    return tuple(value.do_slot("dim")) if "dim" in value.list_attrs() else (len(value),)


def is_object(value: ri.Sexp) -> bool:
    return isinstance(value, ri.SexpS4) or "class" in value.list_attrs()


def is_missing(value: ri.Sexp) -> np.ndarray:
    return np.array(list(ro.r["is.na"](value)), bool)


def check_missing(label: str, value: ri.SexpVector) -> None:
    """Raise a ``DataError`` for missing values in types without NA in numpy; the core checks doubles."""
    if isinstance(value, (ri.FloatSexpVector, ri.ByteSexpVector)):
        return
    if ro.r["anyNA"](value)[0] and (missing := int(is_missing(value).sum())):
        raise DataError(
            label,
            f"`{label}` has {missing} missing value{'s' * (missing > 1)}.",
            "Remove or impute missing values.",
        )


def doubles_of_integer64(value: ri.FloatSexpVector) -> ri.FloatSexpVector:
    """Convert 64-bit integers of the R package bit64, which are stored in the bits of doubles, to doubles."""
    load_r_package()
    return ro.r("kerasfit:::plain_numbers")(value)


def check_missing_in_columns(label: str, frame: ri.ListSexpVector) -> None:
    """Raise one error that counts the missing values of all columns.

    Only if a column whose type has no NA in numpy has some.
    """
    columns = {
        name: column
        for name, column in zip(names_of(frame), frame, strict=True)
        if isinstance(column, (*NUMBERS, ri.StrSexpVector))
    }
    if any(
        ro.r["anyNA"](column)[0]
        for column in columns.values()
        if not isinstance(column, (ri.FloatSexpVector, ri.ByteSexpVector))
    ):
        counts = {name: int(is_missing(column).sum()) for name, column in columns.items()}
        raise not_finite_in_columns(label, MISSING_VALUES, counts, MISSING)


def data_frame_from_r(label: str, frame: ri.ListSexpVector) -> Any:
    check_missing_in_columns(label, frame)
    columns: dict[str, Any] = {}
    matrices: dict[str, list[str]] = {}
    for name, column in zip(names_of(frame), frame, strict=True):
        if isinstance(column, ri.ListSexpVector) or len(dim_of(column)) > 2:
            raise refused(f"{label}${name}", column, "Give a column for each of its parts.")
        parts = {name: column} if len(dim_of(column)) == 1 else columns_of_matrix(name, column)
        if len(parts) > 1:
            matrices[name] = list(parts)
        for part, values in parts.items():
            if part in columns:
                raise ArgumentError(label, f"`{label}` has two columns named `{part}`.")
            columns[part] = data_from_r(f"{label}${part}", values)
    return data_frame(list(columns), list(columns.values()), ro.r["nrow"](frame)[0], matrices)


def columns_of_matrix(name: str, matrix: ri.Sexp) -> dict[str, ri.Sexp]:
    """Return the columns of a matrix in a data frame, named as in the R package."""
    load_r_package()
    columns = ro.r("kerasfit:::split_matrix_column")(matrix, name)
    return dict(zip(names_of(columns), columns, strict=True))


def sparse_from_r(matrix: ri.SexpS4) -> Any:
    for kind in ("dMatrix", "generalMatrix", "CsparseMatrix"):
        matrix = ro.r["as"](matrix, kind)
    values, rows, starts = (array_from_r(matrix.do_slot(slot)) for slot in ("x", "i", "p"))
    return sparse_matrix(values, rows, starts, list(matrix.do_slot("Dim")))


def refused(label: str, value: ri.Sexp, hint: str) -> DataError:
    name = "complex" if value.typeof == ri.RTYPES.CPLXSXP else value.rclass[0]
    return DataError(
        label, f"`{label}` is an object of class {name}, which cannot be trained on as it is.", hint
    )


class ConvertedBatches:
    """Wraps a Python iterator and converts the R values in its batches."""

    def __init__(self, label: str, batches: Iterator[Any]):
        self.label, self.batches = f"{label}()", batches
        self.endless = never_ends(batches)

    def __iter__(self) -> ConvertedBatches:
        return self

    def __next__(self) -> Any:
        return data_from_r(self.label, next(self.batches))


# ---- functions -------------------------------------------------------------------------------------


def generator_from_r(label: str, next_batch: ri.SexpClosure) -> Generator:
    """Return a generator that calls an R function; the R package finds out whether it can end a pass."""
    load_r_package()
    can_return_null = ro.r("kerasfit:::can_return_null")
    return Generator(lambda: data_from_r(f"{label}()", next_batch()), not can_return_null(next_batch)[0])


def load_r_package() -> None:
    """Load the R package kerasfit, which inspects R functions, and prints and plots histories."""
    if not ro.r["requireNamespace"]("kerasfit", quietly=True)[0]:
        raise ImportError("This needs the R package kerasfit, which R does not find in its .libPaths().")


def function_from_r(function: ri.SexpClosure, hook: str) -> Callable:
    """Wrap an R function as a hook; it is called with those of its arguments that it accepts.

    These are epoch or batch, and logs, a named list.
    """
    if hook in HOOKS:
        load_r_package()
        function = ro.r(f"function(f) kerasfit:::match_arguments(f, kerasfit:::callback_hooks${hook})")(
            function
        )

    def to_r(value: Any) -> Any:
        if isinstance(value, dict):
            return ro.ListVector({name: to_r(element) for name, element in value.items()})
        return ro.NULL if value is None else value

    return lambda *args: function(*map(to_r, args))


# ---- history ---------------------------------------------------------------------------------------


def history_to_r(history: History) -> ri.ListSexpVector:
    """Convert a history to the R package's ``keras_training_history``, and load the package to print it."""
    load_r_package()

    def vector(value: Any) -> Any:
        if value is None:
            return ro.NA_Integer
        if isinstance(value, dict):
            return ro.ListVector({name: vector(element) for name, element in value.items()})
        if isinstance(value, list):
            return ro.StrVector(value)
        return value

    params = {name: vector(value) for name, value in history.params.items()}
    params["epoch"] = ro.IntVector(history.epochs)
    params["seconds"] = ro.FloatVector(history.seconds)
    metrics = {
        name: ro.FloatVector([ro.NA_Real if value is None else value for value in values])
        for name, values in history.metrics.items()
    }
    value = ro.ListVector({"params": ro.ListVector(params), "metrics": ro.ListVector(metrics)})
    value.rclass = ro.StrVector(["kerasfit_history", "keras_training_history"])
    return value
