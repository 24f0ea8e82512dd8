"""Where batches come from, and where epochs begin."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pandas as pd
import pytest

from kerasfit.errors import ArgumentError, DataError
from kerasfit.sources import ArraySource, check_arrays, open_source, split, stream_of
from kerasfit.sources.iterators import never_ends


def rows(source):
    """Return the first column of each batch of a pass."""
    return [np.asarray(batch.x)[:, 0].tolist() for batch in source]


def ten():
    return np.arange(10).reshape(10, 1)


class TestArrays:
    def test_batches_are_consecutive_rows_and_a_smaller_last_batch(self):
        assert rows(ArraySource(ten(), batch_size=4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    def test_each_pass_has_its_own_order_of_all_samples(self):
        source = ArraySource(ten(), batch_size=4, shuffle=True)
        first, second = (list(itertools.chain(*rows(source))) for _ in range(2))
        assert first != second
        assert sorted(first) == sorted(second) == list(range(10))

    def test_the_order_depends_only_on_seed_and_pass(self):
        keras.utils.set_random_seed(5)
        one = ArraySource(ten(), shuffle=True)
        keras.utils.set_random_seed(5)
        other = ArraySource(ten(), shuffle=True)
        rows(other)
        np.testing.assert_array_equal(one.shuffling.order(3, 10), other.shuffling.order(3, 10))

    def test_inputs_targets_and_weights_stay_together(self):
        source = ArraySource(
            {"a": ten(), "b": ten() * 2}, ten() * 3, np.arange(10), batch_size=3, shuffle=True
        )
        for x, y, weight in source:
            np.testing.assert_array_equal(x["b"], 2 * x["a"])
            np.testing.assert_array_equal(y, 3 * x["a"])
            np.testing.assert_array_equal(weight, x["a"][:, 0])

    def test_floats_and_booleans_become_the_model_float_type_and_integers_stay(self):
        source = ArraySource([np.ones((2, 1)), np.array([[True], [False]]), np.ones((2, 1), "int32")])
        assert [leaf.dtype for leaf in next(iter(source)).x] == ["float32", "float32", "int32"]

    def test_a_column_major_matrix_keeps_its_rows(self):
        matrix = np.asfortranarray(np.arange(6.0).reshape(3, 2))
        np.testing.assert_array_equal(next(iter(ArraySource(matrix))).x, matrix)

    def test_the_split_takes_the_last_samples(self):
        (x, _, _), (x_val, _, _) = split(ten(), None, None, 0.25)
        assert x[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert x_val[:, 0].tolist() == [7, 8, 9]

    @pytest.mark.parametrize(("samples", "fraction"), [(2, 0.9999), (1, 0.001)])
    def test_a_split_must_leave_samples_on_both_sides(self, samples, fraction):
        with pytest.raises(ArgumentError, match="both need at least one"):
            split(np.zeros((samples, 1)), None, None, fraction)

    def test_categories_are_zero_based_codes(self):
        _, y, _ = check_arrays(ten()[:3], pd.Categorical(["c", "a", "c"], ["a", "b", "c"]))
        assert y.dtype == "int32"
        assert y.tolist() == [2, 0, 2]

    def test_a_list_of_numbers_is_a_vector(self):
        x, y, _ = check_arrays([1.0, 2.0, 3.0], [0, 1, 0])
        assert x.shape == y.shape == (3,)

    @pytest.mark.parametrize(
        ("x", "y", "message", "argument"),
        [
            (None, None, "`x` is missing", "x"),
            (np.zeros((0, 2)), None, "`x` has no samples", "x"),
            (np.zeros((5, 2)), np.zeros(4), "`y` has 4 samples and `x` has 5", "y"),
            (
                [np.zeros((5, 2)), np.zeros(4)],
                None,
                r"`x\[\[2\]\]` has 4 samples and `x\[\[1\]\]` has 5",
                "x",
            ),
            (np.zeros((5, 2)), {"u": np.zeros(5), "v": np.zeros(6)}, r"`y\$v` has 6 samples", "y"),
            (np.zeros((2, 2)), pd.Categorical(["a", None]), "factor with 1 missing value", "y"),
            (np.zeros((2, 2)), ["a", "b"], "`y` is text", "y"),
            (object(), None, "must be an array", "x"),
            (np.array([object()]), None, "must be numeric", "x"),
            (np.array(["2020-01-01"], "datetime64[D]"), None, "must be numeric", "x"),
        ],
    )
    def test_invalid_data_are_an_error_that_names_the_argument(self, x, y, message, argument):
        with pytest.raises(ArgumentError, match=message) as caught:
            check_arrays(x, y)
        assert caught.value.argument == argument

    def test_ragged_tensors_are_an_error_and_not_padded(self):
        import tensorflow as tf

        rows = tf.RaggedTensor.from_row_lengths([1.0, 2.0, 0.5], [2, 1])
        for x in (rows, [rows], {"a": rows}):
            with pytest.raises(DataError, match=r"is a ragged tensor, .*, which cannot be used here"):
                check_arrays(x)
        torch = pytest.importorskip("torch")
        with pytest.raises(DataError, match="`x` is a ragged tensor"):
            check_arrays(torch.nested.nested_tensor([torch.ones(2), torch.ones(1)]))

    @pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="which has ragged tensors")
    def test_ragged_batches_are_an_error_if_the_backend_has_no_ragged_tensors(self):
        import tensorflow as tf

        rows = tf.RaggedTensor.from_row_lengths([1.0, 2.0, 0.5], [2, 1])
        for x in (iter([rows]), tf.data.Dataset.from_tensors(rows)):
            with pytest.raises(
                DataError, match=r"is a ragged tensor, .*, which cannot be used with this backend"
            ):
                next(iter(open_source(x)))

    def test_errors_about_data_are_data_errors(self):
        with pytest.raises(DataError):
            check_arrays(np.zeros((5, 2)), np.zeros(4))


def pairs(count):
    for number in range(count):
        yield np.full((2, 1), number), np.zeros(2)


class TestIterators:
    def test_a_generator_has_one_pass(self):
        source = open_source(pairs(3))
        assert rows(source) == [[0, 0], [1, 1], [2, 2]]
        assert rows(source) == []

    def test_a_generator_function_starts_again_for_each_pass(self):
        source = open_source(lambda: None)
        assert rows(source) == []

        def three():
            yield from pairs(3)

        source = open_source(three)
        assert rows(source) == rows(source) == [[0, 0], [1, 1], [2, 2]]

    def test_a_function_returns_none_at_the_end_of_each_pass(self):
        answers = iter([(ten(),), (ten() + 1,), None, (ten() + 2,), None])
        source = open_source(lambda: next(answers))
        assert [len(rows(source)), len(rows(source))] == [2, 1]

    def test_a_function_may_return_an_iterator_over_a_pass(self):
        source = open_source(lambda: pairs(3))
        assert rows(source) == rows(source) == [[0, 0], [1, 1], [2, 2]]

    def test_the_length_of_an_iterable_is_its_number_of_batches(self):
        class Loader:
            def __len__(self):
                return 3

            def __iter__(self):
                return pairs(3)

        assert open_source(Loader()).batches == 3

    def test_arrays_in_batches_have_the_model_float_type(self):
        batch = next(iter(open_source(iter([(np.ones((2, 1)), np.array([True, False]))]))))
        assert (batch.x.dtype, batch.y.dtype) == ("float32", "float32")

    def test_a_batch_of_another_type_is_an_error(self):
        with pytest.raises(ArgumentError, match=r"`x\(\)\[\[1\]\]` must be an array"):
            next(iter(open_source(iter([object()]))))

    def test_code_that_cannot_return_is_recognized_as_endless(self):
        def endless():
            while True:
                yield 1

        def sometimes():
            while True:
                yield 1
                if np.random.random() < 0.5:
                    return

        assert never_ends(endless())
        assert never_ends(endless)
        assert never_ends(itertools.cycle([1]))
        assert not never_ends(sometimes())
        assert not never_ends(pairs(3))
        assert not never_ends(iter([1]))


class TestDatasets:
    @pytest.fixture
    def tf(self):
        return pytest.importorskip("tensorflow")

    def test_finite_endless_and_unknown_lengths_are_distinguished(self, tf):
        dataset = tf.data.Dataset.from_tensor_slices(ten()).batch(4)
        finite, endless = open_source(dataset), open_source(dataset.repeat())
        unknown = open_source(dataset.filter(lambda x: True))
        assert (finite.batches, finite.endless) == (3, False)
        assert (endless.batches, endless.endless) == (None, True)
        assert (unknown.batches, unknown.endless) == (None, False)

    def test_a_pass_starts_at_the_beginning(self, tf):
        source = open_source(tf.data.Dataset.from_tensor_slices(ten()).batch(5))
        assert rows(source) == rows(source) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("argument", ["y", "sample_weight", "batch_size"])
def test_arguments_for_arrays_only_are_an_error_with_a_generator(argument):
    with pytest.raises(ArgumentError, match="is for arrays only") as caught:
        open_source(pairs(3), **{argument: 5})
    assert caught.value.argument == argument


class TestStreams:
    def epochs(self, source, steps_per_epoch=None, count=3, **how):
        stream = stream_of(source, steps_per_epoch)
        seen = []
        for _ in range(count):
            stream.begin_epoch(**how)
            seen.append([int(np.asarray(batch.x)[0, 0]) for batch in stream.take(100)])
            stream.end_epoch()
        return seen

    def test_an_epoch_is_a_pass(self):
        assert self.epochs(ArraySource(ten(), batch_size=4)) == [[0, 4, 8]] * 3

    def test_steps_per_epoch_end_within_a_pass_and_the_next_epoch_continues_it(self):
        source = ArraySource(ten(), batch_size=2)
        assert self.epochs(source, 2) == [[0, 2], [4, 6], [8]]

    def test_a_pass_that_ended_with_an_epoch_is_followed_by_a_new_one(self):
        assert self.epochs(ArraySource(ten(), batch_size=5), 2) == [[0, 5]] * 3
        assert self.epochs(open_source(lambda: None), 2) == [[]] * 3

    def test_an_epoch_can_restart_the_data(self):
        assert self.epochs(ArraySource(ten(), batch_size=2), 2, new_pass=True) == [[0, 2]] * 3

    def test_minus_one_step_is_a_whole_pass(self):
        assert self.epochs(ArraySource(ten(), batch_size=5), -1) == [[0, 5]] * 3

    def test_a_batch_that_was_peeked_at_is_still_returned(self):
        stream = stream_of(open_source(pairs(2)))
        assert stream.peek() is stream.peek()
        stream.begin_epoch()
        assert len(list(stream.take(5))) == 2

    def test_steps_per_epoch_draw_no_surplus_batch_from_a_generator(self):
        taken = []

        def batch():
            taken.append(1)
            return (ten(),)

        self.epochs(open_source(batch), 3, count=2)
        assert len(taken) == 6

    def test_the_steps_of_an_unknown_source_are_known_after_one_epoch(self):
        stream = stream_of(open_source(pairs(3)))
        assert stream.steps is None
        stream.begin_epoch()
        list(stream.take(10))
        stream.end_epoch()
        assert stream.steps == 3

    def test_a_source_with_fewer_batches_than_steps_has_ended_early(self):
        stream = stream_of(open_source(pairs(3)), 5)
        stream.begin_epoch()
        list(stream.take(5))
        assert stream.ended_early


def test_a_dataset_of_known_shapes_has_an_example_of_its_batches():
    tf = pytest.importorskip("tensorflow")
    known = tf.data.Dataset.from_tensor_slices((np.ones((4, 3)), np.ones(4))).batch(2)
    x, y, sample_weight = open_source(known).example
    assert (tuple(x.shape), tuple(y.shape), sample_weight) == ((None, 3), (None,), None)
    unknown = tf.data.Dataset.from_generator(lambda: iter([np.ones((2, 3))]), output_types=tf.float32)
    assert open_source(unknown).example is None
