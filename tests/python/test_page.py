"""The live page, the Shiny app and documents in a real browser, while R trains."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sessions import ENVIRONMENT

websocket = pytest.importorskip("websocket")

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "pictures"
CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HAS_R = ["Rscript", "-e", "stopifnot(sapply(c('kerasfit', 'plotly', 'shiny', 'callr'), requireNamespace))"]

pytestmark = pytest.mark.skipif(
    CHROME is None or shutil.which("Rscript") is None, reason="needs R and Chromium"
)


class Page:
    """A page in a browser, controlled with Chrome's DevTools protocol."""

    def __init__(self, browser: str, url: str):
        request = urllib.request.Request(f"{browser}/json/new?{url}", method="PUT")
        with urllib.request.urlopen(request) as answer:
            self.target = json.load(answer)
        self.browser, self.numbers = browser, itertools.count()
        self.socket = websocket.create_connection(
            self.target["webSocketDebuggerUrl"], suppress_origin=True, timeout=60
        )

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, code: str) -> Any:
        answer = self.command("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        return None if "exceptionDetails" in answer else answer["result"].get("value")

    def wait(self, code: str, accept: Callable[[Any], bool] = bool, seconds: float = 60) -> Any:
        """Evaluate some code until its value is accepted, and return the value."""
        deadline = time.monotonic() + seconds
        while not accept(value := self.value(code)):
            assert time.monotonic() < deadline, f"{code} is {value!r}"
            time.sleep(0.1)
        return value

    def text(self, selector: str) -> str:
        return self.value(f"document.querySelector({selector!r}).textContent")

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({selector!r}).click()")

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        data = self.command("Page.captureScreenshot")["data"]
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(data))

    def dark(self) -> None:
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}]
        )

    def close(self) -> None:
        self.socket.close()
        urllib.request.urlopen(f"{self.browser}/json/close/{self.target['id']}").close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder as RStudio's viewer does."""

    def log_message(self, *args: Any) -> None:
        pass


POINTS = "document.querySelector('.kerasfit-plot').data[0].x.length"
CURVES = "document.querySelector('.kerasfit-plot').data.map(trace => [trace.name, trace.yaxis])"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[str]:
    if subprocess.run(HAS_R, capture_output=True).returncode:
        pytest.skip("kerasfit, plotly, shiny and callr are not installed in R.")
    profile = tmp_path_factory.mktemp("profile")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,760"]
    process = subprocess.Popen(
        [CHROME, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stderr=subprocess.DEVNULL,
    )
    port = profile / "DevToolsActivePort"
    deadline = time.monotonic() + 30
    while not (port.exists() and port.read_text().strip()):
        assert time.monotonic() < deadline, "Chromium does not start"
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port.read_text().split()[0]}"
    process.terminate()
    process.wait()


TRAIN = """
library(kerasfit)
opened <- function(url) {{
  writeLines(url, "{folder}/url.new")
  file.rename("{folder}/url.new", "{folder}/url")
}}
options(browser = opened, viewer = opened)
utils::assignInNamespace("is_rstudio", function() {in_rstudio}, "kerasfit")
x <- matrix(rnorm(8000), ncol = 8)
model <- keras$Sequential(list(keras$layers$Dense(16L, activation = "relu"), keras$layers$Dense(1L)))
compile(model, "adam", "mse", metrics = {metrics})
pause <- list(on_epoch_end = function(epoch) {{
  Sys.sleep(0.1)
  if (epoch == {fail_at}) stop({reason})
}})
h <- try(fit(
  model, x, x[, 1] * x[, 2],
  epochs = {epochs}, validation_split = 0.2, callbacks = pause, view_metrics = TRUE, verbose = 0
))
if (inherits(h, "keras_training_history")) cat("epochs", length(h$params$epoch), "\\n")
while (!file.exists("{folder}/quit")) Sys.sleep(0.1)
"""


class Training:
    """An R session that trains, and the URL that it opens."""

    def __init__(
        self,
        folder: Path,
        epochs: int,
        fail_at: int = 0,
        in_rstudio: bool = False,
        metrics: str = "'mae'",
        reason: str = "'out of ideas'",
    ):
        self.folder = folder
        code = TRAIN.format(
            folder=folder,
            epochs=epochs,
            fail_at=fail_at,
            in_rstudio=str(in_rstudio).upper(),
            metrics=metrics,
            reason=reason,
        )
        self.process = subprocess.Popen(
            ["Rscript", "-e", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )
        deadline = time.monotonic() + 60
        while not (folder / "url").exists():
            assert self.process.poll() is None and time.monotonic() < deadline, "training does not begin"
            time.sleep(0.1)
        self.url = (folder / "url").read_text().strip()

    def quit(self) -> str:
        (self.folder / "quit").touch()
        return self.process.communicate(timeout=60)[0]


def test_curves_grow_and_the_stop_button_stops(browser, tmp_path):
    training = Training(tmp_path, epochs=10_000)
    page = Page(browser, training.url)
    page.wait(POINTS, lambda points: points and points >= 5)
    assert page.value(CURVES) == [[data, axis] for axis in ("y", "y2") for data in ("training", "validation")]
    assert page.text(".kerasfit-title") == "Training"
    assert page.wait(
        "document.querySelector('.kerasfit-facts').textContent.match(/Epoch [0-9]+ of 10000 · step .* left/)"
    )
    page.picture("live")
    page.dark()
    page.wait("getComputedStyle(document.body).backgroundColor == 'rgb(27, 27, 29)'")
    page.picture("live-dark")
    # as many points as the session reports epochs
    points, epochs = page.value(
        f"fetch('state.json').then(s => s.json()).then(s => [{POINTS}, s.rows.epoch.length])"
    )
    assert epochs - 10 <= points <= epochs
    late = Page(browser, training.url)
    late.wait(POINTS, lambda found: found and found >= points)
    late.close()
    page.click(".kerasfit-stop")
    page.wait(
        "document.querySelector('.kerasfit-title').textContent", lambda title: title == "Training was stopped"
    )
    trained = page.value(POINTS)
    assert page.value("document.querySelector('.kerasfit-stop').hidden")
    late = Page(browser, training.url)
    late.wait(POINTS, lambda found: found == trained)
    page.picture("live-stopped")
    assert f"epochs {trained} " in training.quit()
    late.close()
    page.close()


def test_the_stop_button_works_when_rstudio_serves_the_folder(browser, tmp_path):
    training = Training(tmp_path, epochs=10_000, in_rstudio=True)
    folder = Path(training.url)
    assert folder.name == "index.html"
    handler = functools.partial(QuietHandler, directory=folder.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as viewer:
        threading.Thread(target=viewer.serve_forever, daemon=True).start()
        page = Page(browser, f"http://127.0.0.1:{viewer.server_port}/index.html")
        points = page.wait(POINTS, lambda points: points and points >= 3)
        page.wait(POINTS, lambda more: more > points)
        page.picture("viewer")
        page.click(".kerasfit-stop")
        title = "document.querySelector('.kerasfit-title').textContent"
        page.wait(title, lambda title: title == "Training was stopped")
        trained = page.value(POINTS)
        page.close()
        viewer.shutdown()
    assert f"epochs {trained} " in training.quit()


def test_the_page_says_how_training_ended(browser, tmp_path):
    training = Training(tmp_path, epochs=50, fail_at=4)
    page = Page(browser, training.url)
    title = page.wait(
        "document.querySelector('.kerasfit-title').textContent", lambda title: title and "failed" in title
    )
    assert "out of ideas" in title
    assert page.value(POINTS) == 3
    page.picture("live-failed")
    assert "out of ideas" in training.quit()
    page.close()


@pytest.mark.full
def test_the_page_says_that_the_session_is_gone(browser, tmp_path):
    training = Training(tmp_path, epochs=10_000)
    page = Page(browser, training.url)
    page.wait(POINTS, lambda points: points and points >= 2)
    training.process.kill()
    training.process.wait()
    said = "The R session does not answer"
    page.wait("document.querySelector('.kerasfit-title').textContent", lambda title: title == said)
    page.close()


@pytest.mark.full
def test_the_shiny_app_shows_training_in_another_process_and_stops_it(browser):
    app = subprocess.Popen(
        [
            "Rscript",
            "-e",
            "shiny::runApp(system.file('examples', 'shiny', package = 'kerasfit'), launch.browser = FALSE)",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    url = next(line.split()[-1] for line in app.stdout if "Listening on" in line)
    page = Page(browser, url)
    page.wait(
        "window.Shiny && Shiny.shinyapp && Shiny.shinyapp.isConnected() && document.querySelector('#train')"
    )
    page.value("Shiny.setInputValue('epochs', 100000)")
    time.sleep(1)
    page.click("#train")
    points = page.wait(POINTS, lambda points: points and points >= 10, seconds=90)
    page.wait(POINTS, lambda more: more > points)
    page.picture("shiny")
    page.click(".kerasfit-stop")
    page.wait(
        "document.querySelector('.kerasfit-title').textContent", lambda title: title == "Training was stopped"
    )
    page.wait("document.querySelector('#history').textContent.includes('Training history')")
    page.picture("shiny-stopped")
    page.close()
    app.terminate()
    app.wait()


HOSTILE = [
    "<img src=x onerror='window.hacked=1'>",
    "</script><script>window.hacked=2</script>",
    "<!--<script>",
    "<a href='javascript:window.hacked=3'>a</a>",
    "\"'`${window.hacked=4}",
    "__proto__",
    "&lt;b&gt;",
]
IN_R = "c(" + ", ".join(json.dumps(name) for name in HOSTILE) + ")"
IS_TEXT = """
window.hacked === undefined
  && !document.querySelector('.kerasfit-plot img, .kerasfit-head img, .kerasfit-plot a[href^="javascript"]')
  && document.scripts.length === {scripts}
"""
TEXTS = (
    "[...document.querySelectorAll('.kerasfit-plot {}')].map(it => it.textContent.replaceAll('\\u2060', ''))"
)
TITLES = TEXTS.format(".annotation")


def test_names_and_messages_are_never_markup_on_the_live_page(browser, tmp_path):
    metrics = f"lapply({IN_R}, function(name) keras$metrics$MeanAbsoluteError(name = name))"
    training = Training(
        tmp_path, epochs=50, fail_at=4, metrics=metrics, reason=f"paste({IN_R}, collapse = '')"
    )
    page = Page(browser, training.url)
    title = page.wait(
        "document.querySelector('.kerasfit-title').textContent", lambda title: title and "failed" in title
    )
    assert HOSTILE[0] in title
    assert set(page.wait(TITLES, lambda titles: len(titles) > 7)) == {"loss", *HOSTILE}
    page.picture("hostile")
    scripts = urllib.request.urlopen(training.url).read().count(b"<script")
    assert page.value(IS_TEXT.format(scripts=scripts))
    page.close()
    training.quit()


@pytest.mark.full
def test_names_are_never_markup_in_documents(browser, tmp_path):
    code = f"""
    library(kerasfit)
    names <- {IN_R}
    history <- structure(
      list(params = list(epoch = 1:3), metrics = stats::setNames(rep(list(3:1), length(names)), names)),
      class = "keras_training_history"
    )
    runs <- stats::setNames(rep(list(history), length(names)), names)
    widget <- plot(training_histories(runs), method = "interactive")
    htmltools::save_html(widget, "{tmp_path}/page.html", libdir = "lib")
    """
    subprocess.run(["Rscript", "-e", code], check=True, capture_output=True)
    scripts = (tmp_path / "page.html").read_text(encoding="utf-8").count("<script")
    handler = functools.partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as documents:
        threading.Thread(target=documents.serve_forever, daemon=True).start()
        page = Page(browser, f"http://127.0.0.1:{documents.server_port}/page.html")
        assert set(page.wait(TITLES, lambda titles: len(titles) == len(HOSTILE))) == set(HOSTILE)
        assert set(page.value(TEXTS.format(".legendtext"))) == {f"{name}, training" for name in HOSTILE}
        page.picture("hostile-document")
        assert page.value(IS_TEXT.format(scripts=scripts))
        page.close()
        documents.shutdown()
