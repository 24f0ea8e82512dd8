"""Jupyter's R kernel: the output of a notebook, and its stop button."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from sessions import ENVIRONMENT

jupyter_client = pytest.importorskip("jupyter_client")


class Notebook:
    """A running R kernel that executes cells."""

    def __init__(self, manager: jupyter_client.KernelManager):
        self.manager, self.client = manager, manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, interrupt_after: str | None = None) -> list[dict]:
        """Execute a cell, interrupted half a second after it prints a text; return its outputs in order."""
        self.client.execute(code)
        outputs = []
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return outputs
            if kind in ("stream", "display_data", "execute_result", "error"):
                outputs.append(content)
            if interrupt_after and interrupt_after in content.get("text", ""):
                interrupt_after = None
                time.sleep(0.5)
                self.manager.interrupt_kernel()

    def text(self, code: str, interrupt_after: str | None = None) -> str:
        return "".join(output.get("text", "") for output in self.run(code, interrupt_after))


@pytest.fixture(scope="module")
def notebook(tmp_path_factory) -> Iterator[Notebook]:
    has_kernel = ["Rscript", "-e", "stopifnot(requireNamespace('IRkernel'), requireNamespace('kerasfit'))"]
    if not shutil.which("Rscript") or subprocess.run(has_kernel, capture_output=True).returncode:
        pytest.skip("IRkernel and kerasfit are not installed in R.")
    kernels = tmp_path_factory.mktemp("kernels")
    (kernels / "ir").mkdir()
    command = ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    (kernels / "ir/kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "R", "language": "R"})
    )
    specs = jupyter_client.kernelspec.KernelSpecManager(kernel_dirs=[str(kernels)])
    manager = jupyter_client.KernelManager(kernel_name="ir", kernel_spec_manager=specs)
    manager.start_kernel(env=ENVIRONMENT)
    notebook = Notebook(manager)
    notebook.run(
        """
        library(kerasfit)
        x <- matrix(rnorm(20000), ncol = 10)
        model <- keras$Sequential(list(keras$layers$Dense(1L)))
        compile(model, "adam", "mse")
        history <- fit(model, x, x[, 1], epochs = 3, verbose = 0)
        """
    )
    yield notebook
    manager.shutdown_kernel(now=True)


def test_training_prints_a_line_for_each_epoch(notebook):
    lines = notebook.text("history <- fit(model, x, x[, 1], epochs = 3)").splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert not any(set("\r\x1b") & set(line) for line in lines)


def test_a_history_is_displayed_as_its_plot(notebook):
    shown = [output["data"] for output in notebook.run("history") if "data" in output]
    assert len(shown) == 1
    assert shown[0]["image/png"].startswith("iVBORw0KGgo")
    assert "Training history: epochs 1 to 3" in shown[0]["text/plain"]


def test_the_stop_button_ends_training_and_the_history_is_returned(notebook):
    said = notebook.text(
        """
        callback <- list(on_epoch_end = function(epoch) if (epoch == 3) { cat("third\\n"); flush.console() })
        history <- fit(model, x, x[, 1], epochs = 1e5, verbose = 0, callbacks = callback)
        cat("interrupted", history$params$interrupted, nrow(as.data.frame(history)) > 2)
        """,
        interrupt_after="third",
    )
    assert "Training was interrupted after" in said
    assert said.endswith("interrupted TRUE TRUE")
    assert notebook.text("fit(model, x, x[, 1], verbose = 0); cat('usable')") == "usable"
