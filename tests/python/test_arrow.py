"""Arrow datasets and Parquet files train as the same rows in a data frame do."""

from __future__ import annotations

import builtins
import tracemalloc

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import kerasfit
from kerasfit.errors import DataError, StateError
from kerasfit.sources import ArrowRows, ArrowSource, arrow
from kerasfit.sources.stream import stream_of

pa = pytest.importorskip("pyarrow")
import pyarrow.dataset as ds  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

ROWS = 230


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(ROWS, 3)), columns=list("abc"))
    frame["count"] = random.integers(0, 9, ROWS)
    frame["flag"] = random.integers(0, 2, ROWS).astype(bool)
    frame["kind"] = pd.Categorical.from_codes(random.integers(0, 3, ROWS), ["low", "mid", "high"])
    frame["w"] = random.uniform(0.5, 2, ROWS)
    return frame


@pytest.fixture
def folder(frame, tmp_path):
    """Three files, of row groups of at most 40 rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, part in enumerate((frame[:100], frame[100:105], frame[105:])):
        pq.write_table(pa.Table.from_pandas(part), folder / f"part-{number}.parquet", row_group_size=40)
    return str(folder)


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(arrow, "WINDOW_BYTES", 8 * 7 * 70)


def classifier():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, activation="relu"), layers.Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def result(history, model):
    return [*history.metrics.values(), *model.get_weights()]


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def as_path(folder):
    return folder


def as_dataset(folder):
    return ds.dataset(folder, format="parquet")


def as_files(folder):
    return arrow.open_dataset([f"{folder}/part-{number}.parquet" for number in range(3)])


@pytest.mark.parametrize("value", [as_path, as_dataset, as_files])
def test_a_dataset_trains_as_its_rows_do(value, frame, folder, small_windows):
    arguments = {"epochs": 2, "batch_size": 16, "shuffle": False, "validation_split": 0.2, "verbose": 0}
    arguments["class_weight"] = {"mid": 3.0}
    model = classifier()
    x = frame[["a", "b", "c", "count", "flag"]]
    history = kerasfit.fit(model, x, frame["kind"], sample_weight=frame["w"], **arguments)
    expected = result(history, model), kerasfit.predict(model, x, verbose=0)
    evaluated = kerasfit.evaluate(model, x, frame["kind"], sample_weight=frame["w"], verbose=0)

    model = classifier()
    history = kerasfit.fit(model, value(folder), "kind", sample_weight="w", **arguments)
    assert history.params["levels"] == ["low", "mid", "high"]
    assert history.params["samples"] == 184
    assert_close(result(history, model), expected[0])
    np.testing.assert_allclose(kerasfit.predict(model, value(folder), verbose=0), expected[1], rtol=1e-5)
    found = kerasfit.evaluate(model, value(folder), "kind", sample_weight="w", verbose=0)
    assert found == pytest.approx(evaluated, rel=1e-5)


def test_a_dataset_may_validate_and_a_file_may_train(folder, frame):
    model = classifier()
    history = kerasfit.fit(
        model, f"{folder}/part-0.parquet", "kind", sample_weight="w",
        validation_data=f"{folder}/part-2.parquet", verbose=0,
    )  # fmt: skip
    rows = frame[105:]
    expected = kerasfit.fit(
        classifier(), f"{folder}/part-0.parquet", "kind", sample_weight="w", verbose=0,
        validation_data=(rows[["a", "b", "c", "count", "flag"]], rows["kind"], rows["w"]),
    )  # fmt: skip
    assert_close(history.metrics.values(), expected.metrics.values())


def source_of(folder, shuffle=True, size=16):
    return ArrowSource(ArrowRows(folder, "count"), batch_size=size, shuffle=shuffle)


@pytest.mark.parametrize("size", [7, 64, 300])
def test_each_pass_has_each_row_once_in_a_new_order_that_a_seed_repeats(size, folder, frame, small_windows):
    passes = []
    for _ in range(2):
        keras.utils.set_random_seed(8)
        source = source_of(folder, size=size)
        for _ in range(2):
            batches = [batch.x[:, 0] for batch in source_without_factor(source)]
            assert {len(batch) for batch in batches[:-1]} <= {size}
            assert len(batches) == source.batches
            passes.append(np.concatenate(batches))
    for rows in passes:
        np.testing.assert_array_equal(np.sort(rows), np.sort(frame["a"].to_numpy("float32")))
    np.testing.assert_array_equal(passes[0], passes[2])
    np.testing.assert_array_equal(passes[1], passes[3])
    assert not np.array_equal(passes[0], passes[1])


def source_without_factor(source):
    source.rows.inputs = ["a", "b", "c"]
    source.rows.reader = NumbersReader()
    return source


class NumbersReader(arrow.Reader):
    def inputs(self, label, x):
        return x.to_numpy("float32")

    def targets(self, label, y):
        return y.to_numpy("float32")


def test_a_pass_begins_anywhere_without_reading_what_is_before(folder, small_windows, monkeypatch):
    keras.utils.set_random_seed(8)
    source = source_without_factor(source_of(folder))
    whole = [batch.x for batch in source]
    read = []
    original = ArrowRows.read
    monkeypatch.setattr(ArrowRows, "read", lambda self, pieces: read.append(pieces) or original(self, pieces))
    windows = len([*source._plan(0)])
    for start in (0, 5, 9, source.batches - 1):
        source.shuffling.passes, read[:] = 0, []
        stream = stream_of(source)
        stream.skip(start)
        found = [batch.x for batch in stream.take(99)]
        for one, other in zip(found, whole[start:], strict=True):
            np.testing.assert_array_equal(one, other)
        assert (len(read) < windows) == (start > 5)


def test_a_crashed_run_resumes_within_an_epoch_bit_for_bit(folder, small_windows, tmp_path):
    class Stop(BaseException):
        pass

    def crash(batch, logs):
        if crash.at == batch:
            raise Stop

    def train(at=None, backup=True):
        crash.at = at
        model = classifier()
        callbacks = [{"on_train_batch_end": crash}]
        if backup:
            callbacks.append(kerasfit.BackupAndRestore(tmp_path / "backup", save_freq=3))
        history = kerasfit.fit(
            model, folder, "kind", sample_weight="w", epochs=3, batch_size=16, verbose=0, callbacks=callbacks
        )
        return result(history, model)

    expected = train(backup=False)
    with pytest.raises(Stop):
        train(at=8)
    for one, other in zip(train(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_levels_are_those_of_all_files(folder, tmp_path, frame):
    model = classifier()
    first = frame[:100].copy()
    first["kind"] = first["kind"].cat.remove_categories(["high"]).fillna("low")
    pq.write_table(pa.Table.from_pandas(first), f"{folder}/part-0.parquet", row_group_size=40)
    history = kerasfit.fit(model, folder, "kind", sample_weight="w", verbose=0)
    assert history.params["levels"] == ["low", "mid", "high"]


def test_mistakes_are_errors_that_name_the_column_or_the_file(folder, frame, tmp_path):
    def error(x, y, **arguments):
        with pytest.raises(DataError) as caught:
            kerasfit.fit(classifier(), x, y, verbose=0, **arguments)
        return str(caught.value)

    assert "`y` names `species`, which the dataset does not have. Its columns are a," in error(
        folder, "species"
    )
    assert "`sample_weight` names `v`" in error(folder, "kind", sample_weight="v")
    assert "must be names of columns" in error(folder, np.zeros(ROWS))
    assert "filters its rows" in error(
        as_dataset(folder).filter(ds.field("a") > 0), "kind", sample_weight="w"
    )
    missing = frame.copy()
    missing.loc[3, "b"] = None
    pq.write_table(pa.Table.from_pandas(missing), tmp_path / "missing.parquet")
    assert "`x$b` has 1 missing value" in error(tmp_path / "missing.parquet", "kind", sample_weight="w")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and more")
    assert "cannot be read as Parquet" in error(tmp_path / "broken.parquet", "kind")
    (tmp_path / "empty").mkdir()
    assert "has no Parquet files" in error(tmp_path / "empty", "kind")


def test_without_pyarrow_an_error_says_how_to_install_it(folder, monkeypatch):
    load = builtins.__import__

    def without(name, *arguments, **named):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return load(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StateError, match="need the Python package pyarrow"):
        kerasfit.fit(classifier(), folder, "kind", verbose=0)


def test_memory_stays_below_six_windows_for_data_of_sixty(tmp_path, monkeypatch):
    window = 2**20
    monkeypatch.setattr(arrow, "WINDOW_BYTES", window)
    rows, columns = 60 * window // (8 * 8), 8
    values = np.random.default_rng(0).normal(size=(rows, columns))
    table = pa.table({f"x{column}": values[:, column] for column in range(columns)})
    for part in range(3):
        file = tmp_path / f"part-{part}.parquet"
        pq.write_table(table.slice(part * rows // 3, rows // 3), file, row_group_size=4000)
    del table, values
    source = ArrowSource(ArrowRows(str(tmp_path), "x0"), batch_size=256, shuffle=True)
    pool = pa.default_memory_pool()
    began, peak, count = pool.bytes_allocated(), 0, 0
    tracemalloc.start()  # for the memory of numpy
    try:
        for batch in source:
            count += len(batch.y)
            peak = max(peak, pool.bytes_allocated() - began)
        peak += tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 3 * (rows // 3)
    assert peak < 6 * window
