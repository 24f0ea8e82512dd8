"""Training in a terminal: the content of the screen, not the bytes written."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time

import models
import pytest
from sessions import ENVIRONMENT

pyte = pytest.importorskip("pyte")


class Terminal:
    """A program in a terminal with a given number of columns."""

    def __init__(self, command: list[str], columns: int, rows: int = 40, **more: str):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": ""} | more
        self.process = subprocess.Popen(
            command, stdin=side, stdout=side, stderr=side, env=environment, start_new_session=True
        )
        os.close(side)
        self.main = main

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def watch(self, seconds: float = 90) -> list[list[str]]:
        """Return the screens, taken several times a second until the program ended."""
        screens, deadline = [], time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.main], [], [], 0.05)[0]:
                try:
                    data = os.read(self.main, 4096)
                except OSError:  # the other side is closed
                    break
                if not data:
                    break
                self.stream.feed(data)
                screens.append(self.lines())
        assert self.process.wait(10) == 0, self.lines()
        return screens


SCRIPT = """
library(kerasfit)
x <- matrix(rnorm(8000), ncol = 8)
names <- c("{names}")
model <- keras$Sequential(list(keras$layers$Dense(1L)))
metrics <- lapply(names, function(name) keras$metrics$MeanAbsoluteError(name = name))
compile(model, "sgd", "mse", metrics = metrics)
slowly <- list(on_train_batch_end = function() Sys.sleep(0.01))
fit(model, x, x[, 1], epochs = 2, batch_size = 16, callbacks = slowly)
"""


def train(tmp_path, columns: int, names: list[str], end: str = "") -> list[list[str]]:
    if not shutil.which("Rscript"):
        pytest.skip("needs R")
    script = tmp_path / "script.R"
    script.write_text(SCRIPT.format(names='", "'.join(names)) + end)
    return Terminal(["Rscript", str(script)], columns).watch()


HOSTILE = ["[/red]", "[bold]a", "{{stop('x')}}", "%s %d", "<b>"]


@pytest.mark.full
def test_names_of_metrics_are_never_markup_on_the_bar_in_r(tmp_path):
    screens = train(tmp_path, 200, HOSTILE)
    for last in ([screen[-1] for screen in screens if screen and "ETA" in screen[-1]][-1], screens[-1][-1]):
        assert [name for name in HOSTILE if f" {name}: " not in last] == []


PYTHON_SCRIPT = """
import keras, kerasfit, numpy, time
x = numpy.ones((500, 3), "float32")
metrics = [keras.metrics.MeanAbsoluteError(name=name) for name in {names!a}]
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse", metrics=metrics)
slowly = {{"on_train_batch_end": lambda batch, logs: time.sleep(0.01)}}
kerasfit.fit(model, x, x[:, 0], epochs=2, batch_size=16, callbacks=[slowly], verbose={verbose})
"""


@pytest.mark.parametrize("verbose", models.few([1, 2], [1]))
def test_names_of_metrics_are_never_markup_in_any_terminal(verbose):
    pytest.importorskip("rich")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    names = [*HOSTILE, "\u00fc"]
    script = PYTHON_SCRIPT.format(names=names, verbose=verbose)
    screens = Terminal([sys.executable, "-c", script], 200, **locale).watch()
    assert [name for name in [*HOSTILE, "\\xfc"] if f" {name}: " not in screens[-1][-1]] == []
    if verbose == 1:
        assert any("[/red]: " in line and "Epoch 1/2 -" not in line for screen in screens for line in screen)


@pytest.mark.parametrize("columns", models.few([100, 60], [60]))
def test_a_bar_moves_and_a_line_for_each_epoch_stays(tmp_path, columns):
    screens = train(tmp_path, columns, ["mae"])
    bars = [screen[-1] for screen in screens if screen and "ETA" in screen[-1]]
    assert len(bars) > 5
    assert all(bar.startswith("Epoch ") and len(bar) <= columns for bar in bars)
    assert any("loss: " in bar for bar in bars)
    assert len({bar.split(" | ")[0] for bar in bars}) > 5  # it moves
    last = screens[-1]
    assert [line.split(" - ")[0] for line in last] == ["Epoch 1/2", "Epoch 2/2"]
    assert all(line.count(" - ") == 3 for line in last)


def test_many_metrics_with_long_names_are_wrapped_between_metrics(tmp_path):
    names = [f"a_name_that_is_rather_long_{number}" for number in range(1, 13)]
    screens = train(tmp_path, 70, names)
    for screen in screens:
        if screen and "ETA" in screen[-1]:
            assert sum("ETA" in line for line in screen) == 1
    for line in screens[-1]:
        metrics = [part.strip() for part in line.split(" - ") if "Epoch" not in part]
        assert all(part.partition(":")[0] in ["loss", *names] or part.endswith("s") for part in metrics)
    assert sum("a_name_that_is_rather_long_12: " in line for line in screens[-1]) == 2


@pytest.mark.full
def test_fit_inside_another_progress_bar_leaves_one_line_for_each_epoch(tmp_path):
    end = """
    quiet <- list(on_train_batch_end = function() Sys.sleep(0.001))
    cli::cli_progress_bar("folds", total = 3)
    for (fold in 1:3) {
      suppressMessages(fit(model, x, x[, 1], batch_size = 16, callbacks = quiet))
      cli::cli_progress_update()
    }
    cli::cli_progress_done()
    """
    last = train(tmp_path, 80, ["mae"], end)[-1]
    assert [line.split(" - ")[0] for line in last] == ["Epoch 1/2", "Epoch 2/2", *["Epoch 1/1"] * 3]
