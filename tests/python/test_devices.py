"""Devices other than a CPU, simulated: what is chosen for CPUs only is not used on them."""

from __future__ import annotations

import keras
import models
import numpy as np
import pytest

import kerasfit
from kerasfit import devices
from kerasfit.engines import engine_for, kernels
from kerasfit.engines.engine import stays_on_device
from kerasfit.engines.kernels import replace
from kerasfit.sources import open_source

BACKEND = keras.backend.backend()
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")


@pytest.fixture
def on_gpu(monkeypatch):
    """Pretend that the device is a GPU with 1000 bytes of free memory. Steps still run on the CPU."""
    monkeypatch.setitem(devices.DEVICE_TYPES, BACKEND, lambda: "gpu")
    monkeypatch.setitem(devices.FREE_MEMORY, BACKEND, lambda: 1000)


def test_without_a_gpu_the_device_is_a_cpu():
    assert devices.device_type() == "cpu"
    assert devices.fits_on_device(10**15)


@on_torch
def test_the_device_is_keras_own_choice_and_not_the_default_of_pytorch():
    with keras.device("meta"):
        assert devices.device_type() == "meta"


def test_on_a_gpu_no_plan_or_kernel_for_cpus_is_chosen(on_gpu):
    plans = {"tensorflow": ("loop", "xla"), "jax": ("loop",), "torch": ("loop",)}[BACKEND]
    for build in (models.dense, models.convolution, models.recurrent):
        model, *_ = build()
        assert engine_for(model).plan in plans
    if BACKEND == "torch":
        from kerasfit.engines.torch.kernels import torch_kernels as its_kernels
    else:
        its_kernels = getattr(kernels, f"{BACKEND}_kernels")
    with its_kernels():
        assert not +replace.wanted_here()


def test_only_data_that_take_at_most_half_of_the_free_memory_stay_on_a_gpu(on_gpu):
    model, *_ = models.dense()
    engine = engine_for(model)
    for rows, stays in ((20, True), (21, False)):  # of 24 bytes
        stream = engine.open(open_source(models.numbers(5)[:rows], models.numbers()[:rows]))
        assert stays_on_device(stream) is stays
        assert (stream in engine._device_data) is stays


def test_training_on_a_gpu_gives_the_results_of_a_cpu(request):
    def trained():
        keras.utils.set_random_seed(3)
        model, x, y = models.dense()
        history = kerasfit.fit(model, x, y, epochs=3, batch_size=16, validation_split=0.2, verbose=0)
        return [*model.get_weights(), *history.metrics.values(), kerasfit.predict(model, x, verbose=0)]

    expected = trained()
    request.getfixturevalue("on_gpu")
    for value, other in zip(trained(), expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)
