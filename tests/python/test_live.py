"""The live view: what a page can read, who gets no access, and the stop button."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from urllib.parse import urlsplit

import models
import pytest

import kerasfit
from kerasfit import live, live_server
from kerasfit.errors import ArgumentError
from kerasfit.live import View
from kerasfit.live_server import server
from kerasfit.runtime import own_folder


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


def test_the_page_is_served_with_all_files_it_needs(view):
    assert get(view.url) == get(view.url + "index.html") == "the page"
    assert get(view.url + "lib/chart.js") == "the chart"
    assert status_of(get, view.url + "lib/") == status_of(get, view.url + "missing") == 404


def test_requests_without_the_secret_path_get_nothing(view, tmp_path):
    address = server().url
    (tmp_path.parent / "secret").write_text("secret")
    for path in ("", "index.html", "x/index.html", f"{view.path[:-1]}/", f"{view.path}/../secret"):
        assert status_of(get, address + path) == 404
    assert status_of(get, view.url, Host="evil.example") == 404  # a name resolved to this machine
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
    ]  # an epoch is complete only after its callbacks
    assert all(state["status"] == "training" and state["step"] == state["steps"] for state in seen)
    assert seen[0]["left"] > 0
    state = json.loads(get(view.url + "state.json?after=1"))
    assert (state["status"], state["from"], state["epochs"]) == ("ended", 1, 3)
    assert state["rows"]["epoch"] == [2, 3]
    assert state["rows"]["metrics"]["val_loss"] == history.metrics["val_loss"][1:]


def test_non_finite_values_become_null(view):
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


def test_a_stop_before_the_first_step_ends_training_too(view):
    view.stop()
    model, x, y = models.dense()
    assert kerasfit.fit(model, x, y, epochs=50, view=view, verbose=0).epochs == [1]


def fail(*args):
    raise ValueError("the reason")


def interrupt(*args):
    raise KeyboardInterrupt


def test_the_state_says_how_training_ended(view, tmp_path):
    model, x, y = models.dense()
    with pytest.raises(ValueError):
        kerasfit.fit(model, x, y, callbacks={"on_epoch_end": fail}, view=view, verbose=0)
    assert (view.state()["status"], view.state()["message"]) == ("failed", "the reason")
    other = View(tmp_path)
    kerasfit.fit(model, x, y, callbacks={"on_epoch_end": interrupt}, view=other, verbose=0)
    assert other.state()["status"] == "interrupted"
    assert view.state()["status"] == "failed"


def test_a_folder_gets_the_state_and_a_file_in_it_stops_training(tmp_path):
    opened = []
    view = View(tmp_path, writing=True, opened=opened.append)
    threading.Timer(2, (tmp_path / "stop").touch).start()
    model, x, y = models.dense()
    history = kerasfit.fit(model, x, y, epochs=100_000, view=view, verbose=0)
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["status"] == "stopped"
    assert state["rows"]["epoch"] == history.epochs
    assert opened == [view.url]


def test_a_deleted_folder_does_not_end_training(tmp_path):
    view = View(tmp_path / "gone", writing=True)
    model, x, y = models.dense()
    assert kerasfit.fit(model, x, y, epochs=2, view=view, verbose=0).epochs == [1, 2]


def test_two_runs_at_the_same_time_have_separate_views(tmp_path):
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


def test_a_custom_fit_updates_the_view(view):
    import keras
    import numpy as np

    class Own(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    model = Own([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    kerasfit.fit(model, np.ones((64, 4)), np.ones((64, 1)), epochs=3, view=view, verbose=0)
    assert view.state()["rows"]["epoch"] == [1, 2, 3]


# ---- access control ------------------------------------------------------------------------------------


def ask(method, path, headers=None, body=None):
    """Send a request exactly as given; return status, headers and body of the response."""
    connection = http.client.HTTPConnection("127.0.0.1", server().server_port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": f"127.0.0.1:{server().server_port}", **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def answer_to(request: bytes) -> bytes:
    """Return everything that the server sends for some bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server().server_port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


@pytest.fixture
def page(tmp_path):
    """A view whose folder has links to other places, next to unrelated files."""
    folder = tmp_path / "page"
    (folder / "lib").mkdir(parents=True)
    (folder / "index.html").write_text("the page")
    (folder / "lib" / "chart.js").write_text("the chart")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "page-2").mkdir()
    (tmp_path / "page-2" / "secret").write_text("secret")
    if os.name == "posix":
        (folder / "link").symlink_to(tmp_path / "secret")
        (folder / "linked").symlink_to(tmp_path)
        (folder / "circle").symlink_to(folder / "circle")
        (folder / "here").symlink_to(folder / "lib" / "chart.js")
        os.mkfifo(folder / "pipe")
    return View(folder)


def test_no_path_leads_out_of_the_folder(page, tmp_path):
    outside = str(tmp_path / "secret")
    rests = ["../secret", "lib/../../secret", "../page-2/secret", ".", "..", "/", "lib", "lib/", outside]
    rests += [
        "/" + outside,
        "//" + outside,
        "..\\secret",
        "lib\\..\\..\\secret",
        "C:\\secret",
        "\\\\host\\secret",
    ]
    rests += [
        "index.html\x00",
        "link",
        "linked/secret",
        "circle",
        "pipe",
        "~/secret",
        "a" * 5000,
        "file:///etc/passwd",
    ]
    rests += ["%C0%AE%C0%AE/secret", "..;/secret", "....//secret", "\udc80"]
    for rest in rests:
        quoted = rest.encode("utf-8", "surrogatepass")
        once = "".join(f"%{byte:02x}" for byte in quoted)
        spellings = {
            once,
            once.replace("%", "%25"),
            "".join(chr(b) if 32 < b < 127 else f"%{b:02x}" for b in quoted),
        }
        for spelled in spellings:
            status, _, body = ask("GET", f"/{page.path}/{spelled}")
            assert (status, body) == (404, b""), (rest, spelled)
    for rest in ("", "index.html", "lib/../index.html"):
        assert ask("GET", f"/{page.path}/{rest}")[::2] == (200, b"the page")
    if os.name == "posix":
        assert ask("GET", f"/{page.path}/here")[::2] == (200, b"the chart")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost",
        "127.0.0.1:{port}.evil.example",
        "evil.example@127.0.0.1:{port}",
        "0.0.0.0:{port}",
        "[::1]:{port}",
        "",
        "127.0.0.1:{port}, evil.example",
    ],
)
def test_a_host_that_is_not_ours_gets_nothing(view, host):
    host = {"Host": host.format(port=server().server_port)}
    key = f"?key={view.stop_key}"
    for method, rest in [("GET", ""), ("GET", "state.json"), ("HEAD", "state.json"), ("POST", "stop" + key)]:
        assert ask(method, f"/{view.path}/{rest}", host)[::2] == (404, b"")
    assert not view.stopped


def test_requests_without_a_host_or_with_two_get_nothing(view):
    ours = f"Host: 127.0.0.1:{server().server_port}\r\n"
    for hosts in ("", "Host: evil.example\r\n" + ours, ours + "Host: evil.example\r\n"):
        for version in ("1.0", "1.1"):
            request = f"GET /{view.path}/state.json HTTP/{version}\r\n{hosts}\r\n"
            assert answer_to(request.encode()).startswith(b"HTTP/1.1 404")
    for target in (f"http://evil.example/{view.path}/state.json", f"http://[evil/{view.path}/state.json"):
        request = f"GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        assert answer_to(request.encode()).startswith(b"HTTP/1.1 404")


def test_other_pages_can_neither_read_nor_stop(view):
    origin = {"Origin": "http://evil.example", "Referer": "http://evil.example/"}
    for method, rest in [("GET", "state.json"), ("GET", ""), ("OPTIONS", "state.json"), ("OPTIONS", "stop")]:
        _, headers, _ = ask(method, f"/{view.path}/{rest}", origin)
        assert not [name for name in headers if name.lower().startswith("access-control-")]
    for key in (
        "",
        "?key=",
        "?key=a",
        "?key=%C3%BC",
        "?key=%00",
        f"?key={view.stop_key[:-1]}",
        f"?k={view.stop_key}",
    ):
        assert ask("POST", f"/{view.path}/stop{key}", origin)[0] == 404
        assert ask("POST", f"/stop{key}", origin)[0] == 404
    assert ask("GET", f"/{view.path}/stop?key={view.stop_key}", origin)[0] == 404
    assert ask("PUT", f"/{view.path}/stop?key={view.stop_key}", origin)[0] == 501
    assert not view.stopped
    _, headers, _ = ask("GET", f"/{view.path}/")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Server"] == "kerasfit"


def test_a_head_request_gets_no_body(view):
    for rest in ("", "lib/chart.js", "state.json", "missing"):
        connection = http.client.HTTPConnection("127.0.0.1", server().server_port, timeout=10)
        for _ in range(2):  # a body would be read as the next response
            connection.request("HEAD", f"/{view.path}/{rest}")
            answer = connection.getresponse()
            assert answer.read() == b""
            assert answer.status == (404 if rest == "missing" else 200)
        connection.close()
        head = f"Host: 127.0.0.1:{server().server_port}\r\nConnection: close\r\n\r\n"
        request = f"HEAD /{view.path}/{rest} HTTP/1.1\r\n{head}"
        _, end, body = answer_to(request.encode()).partition(b"\r\n\r\n")
        assert end and not body


def test_malformed_requests_are_answered(view):
    for after in ("-1", "1.5", "x", "9" * 5000, "\u0663", "", "0&after=2"):
        status, _, body = ask("GET", f"/{view.path}/state.json?after={urllib.parse.quote(after, safe='&=')}")
        assert status == 200 and json.loads(body)["rows"]["epoch"] == []
    for request in (b"\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n"):
        answer_to(request + b"\r\n")
    assert get(view.url) == "the page"


def connections_of_server() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_idle_connections_neither_exhaust_threads_nor_block_the_page(view):
    idle = []
    polling = http.client.HTTPConnection("127.0.0.1", server().server_port, timeout=10)
    try:
        for number in range(400):
            idle.append(socket.create_connection(("127.0.0.1", server().server_port), timeout=10))
            if number % 2:
                idle[-1].sendall(b"GET / HT")  # a request that never ends
            if number % 20 == 0:
                polling.request("GET", f"/{view.path}/state.json")
                assert json.loads(polling.getresponse().read())["status"] == "starting"
            assert connections_of_server() <= live_server.MAX_CONNECTIONS
        assert get(view.url) == "the page"
    finally:
        polling.close()
        for connection in idle:
            connection.close()
    deadline = time.monotonic() + 30
    while connections_of_server():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not server()._connections
    assert get(view.url) == "the page"


def test_a_connection_without_requests_is_closed(view, monkeypatch):
    monkeypatch.setattr(live_server.Handler, "timeout", 0.2)
    assert answer_to(b"") == answer_to(b"GET / HT") == b""  # the server closes both


def test_many_simultaneous_requests_are_all_answered(view):
    answers = []

    def ask_often():
        for _ in range(5):
            answers.append(get(view.url))

    threads = [threading.Thread(target=ask_often) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == ["the page"] * 100


# ---- a folder of the user ------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="has no such files")
NAMES = ("state.json", "state.json.new", "stop", "index.html", "FORMAT")


def test_a_view_in_a_folder_changes_nothing_else_in_it(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_text("mine")
    model, x, y = models.dense()
    for _ in range(2):
        view = View.in_folder(tmp_path)
        assert json.loads((tmp_path / live.FOLDER / "state.json").read_text())["status"] == "starting"
        (tmp_path / live.FOLDER / "stop").touch()  # of a previous run
        view = View.in_folder(tmp_path)
        assert kerasfit.fit(model, x, y, epochs=2, view=view, verbose=0).epochs == [1, 2]
        assert json.loads((tmp_path / live.FOLDER / "state.json").read_text())["status"] == "ended"
    assert [(tmp_path / name).read_text() for name in NAMES] == ["mine"] * len(NAMES)
    assert {path.name for path in tmp_path.iterdir()} == {*NAMES, live.FOLDER}
    assert {path.name for path in (tmp_path / live.FOLDER).iterdir()} == {"FORMAT", "state.json"}
    assert status_of(get, view.url + "FORMAT2") == status_of(get, view.url) == 404  # there is no page


@posix
def test_only_the_user_can_read_a_view(tmp_path):
    before = os.umask(0)
    try:
        View.in_folder(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / live.FOLDER).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / live.FOLDER / "state.json").stat().st_mode) == 0o600


@posix
def test_links_in_a_view_are_not_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    given = tmp_path / "given"
    View.in_folder(given)
    for name in ("state.json", "state.json.new", "stop"):
        (given / live.FOLDER / name).unlink(missing_ok=True)
        (given / live.FOLDER / name).symlink_to(mine)
    view = View.in_folder(given)
    model, x, y = models.dense()
    kerasfit.fit(model, x, y, view=view, verbose=0)
    assert mine.read_text() == "mine"
    assert not (given / live.FOLDER / "state.json").is_symlink()


@posix
def test_a_folder_we_cannot_own_alone_is_an_error_and_left_unchanged(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / own_folder.MARKER).write_bytes(live.FORMAT)
    made = {
        "link": lambda ours: ours.symlink_to(tmp_path / "elsewhere"),
        "file": lambda ours: ours.write_text("mine"),
        "pipe": os.mkfifo,
        "foreign": lambda ours: (ours.mkdir(), (ours / "state.json").write_text("mine")),
        "writable": lambda ours: ours.parent.chmod(0o777),
    }
    for name, make in made.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name / live.FOLDER)
        with pytest.raises(ArgumentError, match=f"`view_metrics` names a folder.*{name}") as error:
            View.in_folder(tmp_path / name)
        assert error.value.argument == "view_metrics"
    assert (tmp_path / "file" / live.FOLDER).read_text() == "mine"
    assert (tmp_path / "foreign" / live.FOLDER / "state.json").read_text() == "mine"
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {own_folder.MARKER}


def test_names_of_metrics_and_models_are_never_markup(view):
    import keras

    names = [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "a\"'`b",
        "__proto__",
        "\u2028\n\x00",
        "\U0001f600",
    ]
    model, x, y = models.dense()
    model.name = names[1]  # Keras does not allow a slash
    logs = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(dict.fromkeys(names, 1.0))
    )
    kerasfit.fit(model, x, y, view=view, callbacks=[logs], verbose=0)
    text = get(view.url + "state.json")
    assert text.isascii()
    assert json.loads(text)["name"] == names[1]
    assert set(names) < set(json.loads(text)["rows"]["metrics"])
    _, headers, _ = ask("GET", f"/{view.path}/state.json")
    assert headers["Content-Type"] == "application/json" and headers["X-Content-Type-Options"] == "nosniff"
