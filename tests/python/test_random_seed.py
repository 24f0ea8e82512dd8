"""Seeds of all random generators, with and without TensorFlow loaded."""

import subprocess
import sys
import textwrap

import pytest
import sessions

without_tensorflow = pytest.mark.skipif(
    sessions.ENVIRONMENT["KERAS_BACKEND"] == "tensorflow", reason="TensorFlow is loaded from the beginning"
)


def run(script):
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=sessions.ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@without_tensorflow
def test_training_with_seeds_backup_and_saved_models_does_not_load_tensorflow(tmp_path):
    run(
        f"""
        import sys, kerasfit, keras, numpy as np
        from kerasfit.random_seed import set_random_seed

        set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 9)), "mse")
        saving = keras.callbacks.ModelCheckpoint({str(tmp_path)!r} + "/model.keras")
        backup = kerasfit.BackupAndRestore({str(tmp_path)!r} + "/backup")
        kerasfit.fit(model, np.ones((8, 3)), np.ones(8), epochs=2, verbose=0, callbacks=[saving, backup])
        assert (kerasfit.evaluate(model, np.ones((8, 3)), np.ones(8), verbose=0)) is not None
        assert "tensorflow" not in sys.modules
        """
    )
    assert (tmp_path / "model.keras").exists()


@without_tensorflow
def test_tensorflow_loaded_later_gets_the_last_seed_and_is_found_by_keras():
    """TensorFlow has the last seed that was set, and Keras finds TensorFlow."""
    run(
        """
        import kerasfit, keras, numpy as np
        from kerasfit.random_seed import set_random_seed

        set_random_seed(1)
        set_random_seed(5)
        assert keras.layers.TextVectorization(vocabulary=["a"])(["a"]).shape == (1, 1)

        import tensorflow as tf

        def draws():
            return [*np.random.rand(2), *tf.random.uniform((2,)).numpy()]

        ours = draws()
        keras.utils.set_random_seed(5)
        assert ours == draws()
        """
    )
