"""The cache of compiled programs on disk."""

from __future__ import annotations

import codecs
import concurrent.futures
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import models
import pytest

from kerasfit.runtime import compilation_cache, own_folder

TRAIN = """
import os, sys, kerasfit, keras, numpy
def damage(folder):
    for parent, _, files in os.walk(folder):
        for file in files:
            if "cache" in file:
                os.truncate(os.path.join(parent, file), 700)
from kerasfit.random_seed import set_random_seed
x = numpy.ones((20, 3), "float32")
set_random_seed(1)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
if "now" in sys.argv:
    damage(os.environ["KERASFIT_CACHE"])
plan = "xla" if keras.backend.backend() == "tensorflow" else "loop"
print(kerasfit.fit(model, x, x[:, 0], batch_size=10, verbose=0, plan=plan).metrics["loss"])
if "later" in sys.argv:
    damage(os.environ["KERASFIT_CACHE"])
"""


NAME = 'J\u00fcrgen\'s \u6570\u636e "a b"'  # user names on Windows look like this, or worse


@pytest.mark.parametrize("backend", models.few(["tensorflow", "jax"], ["jax"]))
def test_damaged_programs_are_compiled_again_in_a_folder_with_any_name(tmp_path, backend):
    pytest.importorskip(backend)
    folder, elsewhere = tmp_path / NAME, tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"KERAS_BACKEND": backend, "KERASFIT_CACHE": str(folder), "TF_XLA_FLAGS": ""}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)

    def train(when):
        code = [sys.executable, "-c", TRAIN, when]
        return subprocess.run(
            code, env=environment, cwd=elsewhere, capture_output=True, text=True, check=True
        )

    losses = [train("later")]
    assert sorted(tmp_path.iterdir()) == [folder, elsewhere] and not list(elsewhere.iterdir())
    tmp_path = folder
    left = sorted(tmp_path.glob("*/*/*/*cache*"))
    assert left and all(file.stat().st_size == 700 for file in left)
    losses.append(train("whole"))
    assert "persistent compilation cache" not in losses[-1].stderr
    assert sorted(tmp_path.glob("*/*/*/*cache*")) == left
    assert all(file.stat().st_size > 700 for file in left)
    if backend == "tensorflow":  # JAX itself continues
        losses.append(train("now"))
    assert len({loss.stdout for loss in losses}) == 1


def test_a_program_file_cut_within_a_field_is_incomplete(tmp_path):
    file = tmp_path / "a.pb"
    message = b"\x08\x96\x01" + b"\x12\x03abc" + b"\x1d1234"  # a number, three bytes, four bytes
    for length in range(len(message) + 1):
        file.write_bytes(message[:length])
        assert compilation_cache.is_whole_message(file) == (length in (3, 8, 13))
    for damaged in (b"\x80" * 1000, b"\x12" + b"\xff" * 9 + b"\x01", b"\x12" + b"\xff" * 8 + b"\x7f"):
        file.write_bytes(damaged)
        assert not compilation_cache.is_whole_message(file)


# ---- which files are touched ---------------------------------------------------------------------------

DIGITS = "0123456789abcdef"
JAX, TENSORFLOW = f"jit_step-{DIGITS * 4}-cache", "xla_compile_cache__12__34__XLA_CPU_JIT.pb"


@pytest.fixture
def load(monkeypatch):
    """Load Keras with a cache folder and return the reason why nothing is cached, if there is one."""

    def load(folder: Path) -> str | None:
        monkeypatch.setattr(os, "environ", {"KERASFIT_CACHE": str(folder), "PATH": os.environ["PATH"]})
        monkeypatch.setattr(compilation_cache, "_folder", None)
        monkeypatch.setattr(compilation_cache, "_refusals", {})
        compilation_cache.configure_backends()
        assert ("jax" not in compilation_cache._refusals) == ("JAX_COMPILATION_CACHE_DIR" in os.environ)
        assert ("tensorflow" not in compilation_cache._refusals) == ("TF_XLA_FLAGS" in os.environ)
        return compilation_cache._refusals.get("tensorflow")

    return load


def make(path: Path, days: float = 0, content: bytes = b"x damaged") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    when = time.time() - days * 24 * 3600
    os.utime(path, (when, when))
    return path


def snapshot(folder: Path) -> dict[str, tuple]:
    """Return mode, modification time and content of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        time_changed = info.st_mtime_ns if not stat.S_ISDIR(info.st_mode) else None
        found[str(path.relative_to(folder))] = info.st_mode, time_changed, content
    return found


def make_foreign(folder: Path, elsewhere: Path) -> None:
    """Create files of every kind: old and new, with names like ours, links, pipes, without permissions."""
    for days in (0, 90, 400):
        for first in ("Documents", DIGITS, "jax", "src"):
            for second in ("taxes", "jax", "tensorflow"):
                for name in ("2019.pdf", JAX, TENSORFLOW):
                    make(folder / first / second / f"{days}{name}", days)
                    make(folder / first / second / "deeper" / f"{days}{name}", days)
        make(folder / f"{days}{JAX}", days)
        make(folder / DIGITS / f"{days}{JAX}", days)
    for name in ("checked", "FORMAT", "CACHEDIR.TAG", "stop"):
        make(folder / name, 90)
    own = make(elsewhere / "thesis.tex", 400)
    for parent in (DIGITS + "/jax", "links/tensorflow"):
        (folder / parent).mkdir(parents=True, exist_ok=True)
        os.utime(make(folder / parent / "unreadable-cache", 90))
        (folder / parent / "unreadable-cache").chmod(0)
        (folder / parent / f"link-{DIGITS * 4}-cache").symlink_to(own)
        (folder / parent / "nowhere").symlink_to(folder / "missing")
        os.link(own, folder / parent / f"hard-{DIGITS * 4}-cache")
        os.mkfifo(folder / parent / f"pipe-{DIGITS * 4}-cache")
    make(elsewhere / "data" / "jax" / JAX, 400)
    make(elsewhere / "data" / "tensorflow" / TENSORFLOW)
    (folder / "linked").symlink_to(elsewhere / "data")
    (folder / DIGITS[::-1]).symlink_to(elsewhere / "data")
    (folder / "linked-jax").mkdir()
    (folder / "linked-jax" / "jax").symlink_to(elsewhere / "data" / "jax")


posix = pytest.mark.skipif(os.name != "posix", reason="has no such files")


@posix
def test_foreign_files_beside_our_folder_are_never_touched(load, tmp_path):
    given, elsewhere = tmp_path / "given", tmp_path / "elsewhere"
    make_foreign(given, elsewhere)
    before = snapshot(tmp_path)
    for _ in range(2):
        assert load(given) is None
        assert not compilation_cache.remove_damaged()
    after = snapshot(tmp_path)
    assert {path: entry for path, entry in after.items() if compilation_cache.FOLDER not in path} == before
    assert stat.S_IMODE((given / compilation_cache.FOLDER).stat().st_mode) == 0o700
    assert (
        (given / compilation_cache.FOLDER / "CACHEDIR.TAG")
        .read_bytes()
        .startswith(compilation_cache.TAG[:43])
    )
    assert len(compilation_cache.TAG[:43].split()[1]) == 32  # the standard's signature


@posix
def test_foreign_files_inside_our_folder_are_never_touched(load, tmp_path):
    given, elsewhere = tmp_path / "given", tmp_path / "elsewhere"
    assert load(given) is None
    ours = given / compilation_cache.FOLDER
    make_foreign(ours / "a", elsewhere)
    make_foreign(ours / DIGITS / "jax" / "a", tmp_path / "more")
    for parent in (ours / DIGITS / "jax", ours / DIGITS / "tensorflow"):
        for name in ("notes.txt", "jit_step-cache", f"{JAX}.bak", f"{TENSORFLOW}.bak", "model.pb"):
            make(parent / name, 400)
        (parent / f"link-{DIGITS * 4}-cache").symlink_to(elsewhere / "thesis.tex")
        (parent / "xla_compile_cache__1__2__link.pb").symlink_to(elsewhere / "thesis.tex")
        (parent / f"folder-{DIGITS * 4}-cache").mkdir()
        os.mkfifo(parent / f"pipe-{DIGITS * 4}-cache")
        os.mkfifo(parent / "xla_compile_cache__1__2__pipe.pb")
    (ours / DIGITS[::-1]).symlink_to(elsewhere / "data")
    (ours / ("f" * 16)).mkdir()
    (ours / ("f" * 16) / "jax").symlink_to(elsewhere / "data" / "jax")
    (ours / ("f" * 16) / "tensorflow").symlink_to(elsewhere / "data" / "tensorflow")
    (ours / "checked").unlink()
    (ours / "checked").symlink_to(elsewhere / "thesis.tex")
    before = snapshot(tmp_path)
    assert load(given) is None
    assert not compilation_cache.remove_damaged()
    after = snapshot(tmp_path)
    del (
        before[f"given/{compilation_cache.FOLDER}/checked"],
        after[f"given/{compilation_cache.FOLDER}/checked"],
    )
    assert after == before
    old = make(ours / DIGITS / "jax" / JAX, 400)
    assert load(given) is None
    assert not old.exists()  # ours is deleted and everything else stays
    assert snapshot(tmp_path).keys() == {*before, f"given/{compilation_cache.FOLDER}/checked"}


def as_link(ours, elsewhere):
    make(elsewhere / own_folder.MARKER, content=compilation_cache.FORMAT)
    elsewhere.chmod(0o700)
    ours.symlink_to(elsewhere)


def as_file(ours, elsewhere):
    make(ours, 400)


def as_pipe(ours, elsewhere):
    os.mkfifo(ours)


def as_link_to_nowhere(ours, elsewhere):
    ours.symlink_to(elsewhere / "missing")


def as_foreign_folder(ours, elsewhere):
    make(ours / "mine.txt")


def as_empty_folder(ours, elsewhere):
    ours.mkdir()


def as_writable_folder(ours, elsewhere):
    make(ours / own_folder.MARKER, content=compilation_cache.FORMAT)
    ours.chmod(0o777)


def as_folder_of_another_format(ours, elsewhere):
    make(ours / own_folder.MARKER, content=compilation_cache.FORMAT.replace(b"1", b"2"))


def with_a_link_as_marker(ours, elsewhere):
    ours.mkdir()
    (ours / own_folder.MARKER).symlink_to(
        make(elsewhere / own_folder.MARKER, content=compilation_cache.FORMAT)
    )


def with_a_pipe_as_marker(ours, elsewhere):
    ours.mkdir()
    os.mkfifo(ours / own_folder.MARKER)


def with_a_linked_backend_folder(ours, elsewhere):
    make(ours / own_folder.MARKER, content=compilation_cache.FORMAT)
    make(elsewhere / JAX, 400)
    (ours / compilation_cache.processor()).mkdir()
    (ours / compilation_cache.processor() / "jax").symlink_to(elsewhere)


SHAPES = {
    as_link: "is a link",
    as_link_to_nowhere: "is a link",
    as_file: "is not a folder",
    as_pipe: "is not a folder",
    as_foreign_folder: "was not made by this version of kerasfit",
    as_empty_folder: "was not made by this version of kerasfit",
    as_folder_of_another_format: "was not made by this version of kerasfit",
    with_a_link_as_marker: "was not made by this version of kerasfit",
    with_a_pipe_as_marker: "was not made by this version of kerasfit",
    as_writable_folder: "other users may write",
    with_a_linked_backend_folder: "is a link",
}


@posix
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_an_entry_named_like_our_folder_that_is_not_ours_is_left_unchanged(load, tmp_path, shape):
    given, elsewhere = tmp_path / "given", tmp_path / "elsewhere"
    given.mkdir(mode=0o700)
    elsewhere.mkdir()
    shape(given / compilation_cache.FOLDER, elsewhere)
    if (given / compilation_cache.FOLDER).is_dir():
        make(given / compilation_cache.FOLDER / DIGITS / "jax" / JAX, 400)
        make(given / compilation_cache.FOLDER / DIGITS / "tensorflow" / TENSORFLOW)
    before = snapshot(tmp_path)
    assert SHAPES[shape] in load(given)
    assert not compilation_cache.remove_damaged()
    after = snapshot(tmp_path)
    if shape is not with_a_linked_backend_folder:
        assert after == before
    assert {path: entry for path, entry in after.items() if path in before} == before


@posix
def test_a_folder_that_others_can_write_to_is_not_used(load, tmp_path):
    for mode, is_used in [(0o755, True), (0o757, False), (0o777, False), (0o1777, True), (0o700, True)]:
        given = tmp_path / oct(mode)
        given.mkdir()
        given.chmod(mode)
        assert (load(given) is None) == is_used
        assert (given / compilation_cache.FOLDER).exists() == is_used
    if os.geteuid() == 0:
        os.chown(given, 12345, -1)
        assert "belongs to another user" in load(given)
        os.chown(given, 0, -1)
        os.chown(given / compilation_cache.FOLDER, 12345, -1)
        assert "belongs to another user" in load(given)


@posix
def test_only_the_private_group_of_the_user_may_write_to_a_folder(monkeypatch):
    import grp
    import pwd

    groups = {
        1: grp.struct_group(("me", "x", 1, [])),
        2: grp.struct_group(("me", "x", 2, ["me"])),
        3: grp.struct_group(("me", "x", 3, ["you"])),
        4: grp.struct_group(("users", "x", 4, [])),
    }
    monkeypatch.setattr(pwd, "getpwuid", lambda user: pwd.struct_passwd(("me", "x", user, 1, "", "/", "sh")))
    monkeypatch.setattr(grp, "getgrgid", groups.__getitem__)

    def found(group, mode):
        return own_folder.others_may_write(os.stat_result((mode, 0, 0, 1, 1000, group, 0, 0, 0, 0)))

    assert [found(group, 0o775) for group in range(6)] == [True, False, False, True, True, True]
    assert not any(found(group, 0o755) for group in range(6))


def test_a_folder_that_cannot_be_created_is_reported(load, tmp_path):
    in_c_locale = tmp_path / "\udcc3"  # a byte that is no letter in this locale
    assert "\\udcc3 has characters that the locale of this session does not" in load(in_c_locale)
    assert not list(tmp_path.iterdir())
    assert "cannot be used" in load(make(tmp_path / "file") / "cache")
    assert "cannot be used" in load(make(tmp_path / "file"))


@posix
def test_a_link_as_cache_folder_is_resolved(load, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "scratch")
    assert load(tmp_path / "cache") is None
    assert compilation_cache._folder == tmp_path / "scratch" / compilation_cache.FOLDER


def test_old_and_surplus_programs_are_deleted_least_recently_used_first(load, monkeypatch, tmp_path):
    load(tmp_path)
    folder = tmp_path / compilation_cache.FOLDER / DIGITS

    def program(number, days):
        return make(folder / "jax" / f"jit_{number}-{DIGITS * 4}-cache", days, content=b"1234")

    programs = [program(number, days) for number, days in enumerate([61, 59, 30, 2, 1])]
    used = program(5, 400)
    os.utime(used, (time.time(), used.stat().st_mtime))  # read today
    part = make(folder / "tensorflow" / f"{TENSORFLOW}.tmp", 70)
    load(tmp_path)
    assert [file.exists() for file in programs] == [False, True, True, True, True]
    assert used.exists() and not part.exists()
    monkeypatch.setattr(compilation_cache, "KEPT_BYTES", 13)
    load(tmp_path)
    assert [file.exists() for file in programs] == [False, False, False, True, True]
    assert used.exists()


def test_processes_may_start_and_delete_at_the_same_time(load, monkeypatch, tmp_path):
    def open_folder(given):
        return own_folder.open_own_folder(
            given, compilation_cache.FOLDER, compilation_cache.FORMAT, {"CACHEDIR.TAG": compilation_cache.TAG}
        )

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for number in range(20):
            given = tmp_path / str(number)
            folders = set(threads.map(open_folder, [given] * 8))
            assert folders == {given / compilation_cache.FOLDER}
            assert [path.name for path in given.iterdir()] == [compilation_cache.FOLDER]
        load(given)
        for number in range(300):
            make(
                given / compilation_cache.FOLDER / DIGITS / "jax" / f"jit_{number}-{DIGITS * 4}-cache",
                61 * (number % 2),
            )
        list(
            threads.map(
                lambda remove: remove(),
                [compilation_cache.remove_unused, compilation_cache.remove_damaged] * 8,
            )
        )
    assert not list(compilation_cache.programs())
    # a file that another process deletes after we have listed it and before we delete it
    make(given / compilation_cache.FOLDER / DIGITS / "jax" / JAX, 61)
    unlink = Path.unlink

    def unlink_twice(file, **kwargs):
        unlink(file)
        unlink(file)

    monkeypatch.setattr(Path, "unlink", unlink_twice)
    compilation_cache.remove_unused()


@posix
def test_keras_loads_beside_foreign_files_and_warns_once_about_a_refused_cache(tmp_path):
    pytest.importorskip("jax")
    given, elsewhere = tmp_path / "given", tmp_path / "elsewhere"
    make_foreign(given, elsewhere)
    (given / compilation_cache.FOLDER).symlink_to(elsewhere)
    before = snapshot(tmp_path)
    environment = os.environ | {"KERAS_BACKEND": "jax", "KERASFIT_CACHE": str(given)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    again = "kerasfit.predict(keras.Sequential([keras.layers.Dense(1)]), x, verbose=0)"
    done = subprocess.run(
        [sys.executable, "-c", TRAIN + again], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Compiled programs are not kept") == 1
    assert "is a link" in done.stderr
    (given / compilation_cache.FOLDER).unlink()
    subprocess.run([sys.executable, "-c", TRAIN], env=environment, capture_output=True, check=True)
    after = snapshot(tmp_path)
    made = {path for path in after if path.startswith(f"given/{compilation_cache.FOLDER}")}
    assert any(path.endswith("-cache") for path in made)
    assert {path: entry for path, entry in after.items() if path not in made} == {
        path: entry for path, entry in before.items() if path != f"given/{compilation_cache.FOLDER}"
    }


@pytest.mark.parametrize(
    "name",
    ["plain", "with space", "quote\"s '", "back\\slash", "\u00fcml\u00e4ut", "tab\there", "a;b&c", NAME],
)
def test_tensorflow_gets_a_folder_with_any_name(load, monkeypatch, tmp_path, name):
    assert load(tmp_path / name) is None
    flags = os.environ["TF_XLA_FLAGS"]
    name, _, value = flags.partition("=")
    if value.startswith('"'):
        assert value.endswith('"')
        value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    else:
        assert value.isascii() and not set(value) & set(" \"'\\\t")
    assert Path(value).parent.parent == compilation_cache._folder


def test_on_windows_tensorflow_programs_are_not_cached_under_a_name_it_would_misread(
    load, monkeypatch, tmp_path
):
    def in_code_page(name):
        codecs.register(search := lambda wanted: codecs.lookup(name) if wanted == "mbcs" else None)
        try:
            return load(tmp_path / "J\u00fcrgen"), compilation_cache._refusals
        finally:
            codecs.unregister(search)

    monkeypatch.setattr(compilation_cache, "IS_WINDOWS", True)
    reason, refusals = in_code_page("cp1252")
    assert "in this system's code page" in reason
    assert list(refusals) == ["tensorflow"]
    assert in_code_page("utf-8")[0] is None
    assert load(tmp_path / "plain") is None


def test_flags_of_the_user_are_kept(monkeypatch, tmp_path):
    for given, kept in [
        ("--a=1", True),
        ("", True),
        ("flags.txt", False),
        ("--tf_xla_persistent_cache_x", False),
    ]:
        monkeypatch.setattr(os, "environ", {"KERASFIT_CACHE": str(tmp_path), "TF_XLA_FLAGS": given})
        compilation_cache.configure_backends()
        assert os.environ["TF_XLA_FLAGS"].startswith(given)
        assert ("persistent_cache_directory" in os.environ["TF_XLA_FLAGS"]) == kept


@pytest.mark.parametrize("given", [None, "", "--a=1"])
def test_variables_are_restored_once_the_backend_has_read_them(monkeypatch, tmp_path, given):
    for backend, left in [("jax", False), ("torch", False), ("tensorflow", True)]:
        before = {"KERASFIT_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "2"}
        if given is not None:
            before["TF_XLA_FLAGS"] = given
        monkeypatch.setattr(os, "environ", dict(before))
        monkeypatch.setattr(compilation_cache, "_before", {})
        compilation_cache.configure_backends()
        assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "2"
        assert os.environ["JAX_COMPILATION_CACHE_DIR"]
        compilation_cache.restore_variables(backend)
        assert ("persistent_cache" in os.environ.pop("TF_XLA_FLAGS", "")) == left
        before.pop("TF_XLA_FLAGS", None)
        assert os.environ == before


@pytest.mark.parametrize("name", ["plain", "with space", "quote\"s '"])
@pytest.mark.parametrize("given", ["", "--a=1"])
def test_the_cache_folder_of_a_parent_process_is_not_used(monkeypatch, tmp_path, name, given):
    """Child processes inherit TensorFlow's flag, but may have another cache folder or none."""
    monkeypatch.setattr(os, "environ", {"KERASFIT_CACHE": str(tmp_path / name), "TF_XLA_FLAGS": given})
    compilation_cache.configure_backends()
    os.environ["KERASFIT_CACHE"] = str(tmp_path / "other")
    compilation_cache.configure_backends()
    assert os.environ["TF_XLA_FLAGS"].startswith(given)
    assert os.environ["TF_XLA_FLAGS"].count("persistent_cache") == 1
    assert str(tmp_path / "other") in os.environ["TF_XLA_FLAGS"]
    os.environ["KERASFIT_CACHE"] = ""
    compilation_cache.configure_backends()
    assert os.environ["TF_XLA_FLAGS"] == given


def test_a_cache_folder_the_user_gave_to_tensorflow_is_kept(monkeypatch, tmp_path):
    flags = "--tf_xla_persistent_cache_directory=/mine --b=kerasfit-programs"
    monkeypatch.setattr(os, "environ", {"KERASFIT_CACHE": str(tmp_path), "TF_XLA_FLAGS": flags})
    compilation_cache.configure_backends()
    assert os.environ["TF_XLA_FLAGS"] == flags


def test_without_a_cache_folder_nothing_is_read_or_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compilation_cache, "_folder", None)
    for environment in ({}, {"KERASFIT_CACHE": ""}):
        monkeypatch.setattr(os, "environ", environment)
        compilation_cache.configure_backends()
        assert not compilation_cache.remove_damaged()
    assert not list(tmp_path.iterdir())
