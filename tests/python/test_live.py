"""Training as it is watched: what a page is told, who is told nothing, and the stop button."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import models
import pytest

import kerasfit
from kerasfit.live import View, server


@pytest.fixture
def view(tmp_path):
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "chart.js").write_text("the chart")
    return View(tmp_path)


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read().decode()


def post(url):
    return urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).status


def status_of(call, *args, **kwargs):
    with pytest.raises(urllib.error.HTTPError) as error:
        call(*args, **kwargs)
    return error.value.code


def test_the_page_is_served_with_all_that_it_needs(view):
    assert get(view.url) == get(view.url + "index.html") == "the page"
    assert get(view.url + "lib/chart.js") == "the chart"
    assert status_of(get, view.url + "lib/") == status_of(get, view.url + "missing") == 404


def test_who_does_not_know_the_path_gets_nothing(view, tmp_path):
    address = server().url
    (tmp_path.parent / "secret").write_text("secret")
    for path in ("", "index.html", "x/index.html", f"{view.path[:-1]}/", f"{view.path}/../secret"):
        assert status_of(get, address + path) == 404
    assert status_of(get, view.url, Host="evil.example") == 404  # a name that somebody lets point here
    assert urlsplit(address).hostname == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(1)
        other.connect((socket.gethostbyname(socket.gethostname()), urlsplit(address).port))
        if other.getpeername()[0] == "127.0.0.1":
            raise OSError("this machine has no other address")


def test_the_state_has_the_epochs_so_far(view):
    seen = []
    watch = {"on_epoch_end": lambda epoch, logs: seen.append(json.loads(get(view.url + "state.json")))}
    model, x, y = models.dense()
    assert json.loads(get(view.url + "state.json"))["status"] == "starting"
    history = kerasfit.fit(
        model, x, y, epochs=3, validation_split=0.2, callbacks=[watch], view=view, verbose=0
    )
    assert [state["epoch"] for state in seen] == [1, 2, 3]
    assert [state["rows"]["epoch"] for state in seen] == [
        [],
        [1],
        [1, 2],
    ]  # it is over when its callbacks are
    assert all(state["status"] == "training" and state["step"] == state["steps"] for state in seen)
    assert seen[0]["left"] > 0
    state = json.loads(get(view.url + "state.json?after=1"))
    assert (state["status"], state["from"], state["epochs"]) == ("ended", 1, 3)
    assert state["rows"]["epoch"] == [2, 3]
    assert state["rows"]["metrics"]["val_loss"] == history.metrics["val_loss"][1:]


def test_numbers_that_json_has_not_are_null(view):
    model, x, y = models.dense()
    x[0, 0] = float("inf")
    kerasfit.fit(model, x, y, view=view, allow_missing=True, verbose=0)
    assert json.loads(get(view.url + "state.json"))["rows"]["metrics"]["loss"] == [None]


def test_the_stop_button_needs_its_key_and_ends_training_after_the_step(view):
    steps = []

    def press(batch, logs):
        steps.append(batch)
        if len(steps) == 5:
            assert status_of(post, view.url + "stop") == 404
            assert status_of(post, view.url + "stop?key=" + view.path) == 404
            assert status_of(get, view.stop_url) == 404
            assert post(view.stop_url) == 200

    model, x, y = models.dense()
    history = kerasfit.fit(
        model, x, y, epochs=50, batch_size=16, callbacks={"on_train_batch_end": press}, view=view, verbose=0
    )
    assert len(steps) == 5
    assert history.epochs == [1]
    assert view.state()["status"] == "stopped"


def test_a_stop_before_the_first_step_is_one_too(view):
    view.stop()
    model, x, y = models.dense()
    assert kerasfit.fit(model, x, y, epochs=50, view=view, verbose=0).epochs == [1]


def fail(*args):
    raise ValueError("the reason")


def interrupt(*args):
    raise KeyboardInterrupt


def test_how_training_ended(view, tmp_path):
    model, x, y = models.dense()
    with pytest.raises(ValueError):
        kerasfit.fit(model, x, y, callbacks={"on_epoch_end": fail}, view=view, verbose=0)
    assert (view.state()["status"], view.state()["message"]) == ("failed", "the reason")
    other = View(tmp_path)
    kerasfit.fit(model, x, y, callbacks={"on_epoch_end": interrupt}, view=other, verbose=0)
    assert other.state()["status"] == "interrupted"
    assert view.state()["status"] == "failed"


def test_a_folder_has_the_state_too_and_a_file_stops_training(tmp_path):
    opened = []
    view = View(tmp_path, writing=True, opened=opened.append)
    threading.Timer(2, (tmp_path / "stop").touch).start()
    model, x, y = models.dense()
    history = kerasfit.fit(model, x, y, epochs=100_000, view=view, verbose=0)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["status"] == "stopped"
    assert state["rows"]["epoch"] == history.epochs
    assert opened == [view.url]


def test_a_folder_that_is_gone_does_not_end_training(tmp_path):
    view = View(tmp_path / "gone", writing=True)
    model, x, y = models.dense()
    assert kerasfit.fit(model, x, y, epochs=2, view=view, verbose=0).epochs == [1, 2]


def test_two_trainings_at_once(tmp_path):
    views = [View(tmp_path), View(tmp_path)]
    runs = [models.dense() for _ in views]
    barrier = threading.Barrier(2)
    meet = {"on_epoch_end": lambda epoch, logs: barrier.wait(30)}

    def train(view, run):
        kerasfit.fit(*run, epochs=5, callbacks=meet, view=view, verbose=0)

    threads = [threading.Thread(target=train, args=pair) for pair in zip(views, runs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(json.loads(get(view.url + "state.json"))["rows"]["epoch"]) for view in views] == [5, 5]


def test_a_model_with_a_fit_of_its_own_is_watched(view):
    import keras
    import numpy as np

    class Own(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    model = Own([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    kerasfit.fit(model, np.ones((64, 4)), np.ones((64, 1)), epochs=3, view=view, verbose=0)
    assert view.state()["rows"]["epoch"] == [1, 2, 3]
