"""The only writer: files and folders are written whole or not at all, and only regular files are replaced."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from continuum_sim.traces.files import spool, staged_folder, whole_file, whole_text, write_text
from continuum_sim.traces.leftovers import beside, lock_folder, new_token, release

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="devices, modes and locks of Unix")


def free(folder: Path) -> None:
    """Accept any place."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> object:
    before = os.umask(0o027)
    yield None
    os.umask(before)


def test_a_new_file_has_the_mode_of_the_umask_and_a_replaced_one_keeps_its_own(tmp_path: Path, umask: object) -> None:
    write_text(tmp_path / "new", "ä")
    assert ((tmp_path / "new").read_bytes(), mode(tmp_path / "new")) == ("ä".encode(), 0o640)
    (tmp_path / "new").chmod(0o604)
    write_text(tmp_path / "new", "b")
    assert ((tmp_path / "new").read_text(), mode(tmp_path / "new")) == ("b", 0o604)
    with staged_folder(tmp_path / "folder", free):
        pass
    assert mode(tmp_path / "folder") == 0o750
    assert {path.name for path in tmp_path.iterdir()} == {"new", "folder"}


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    (tmp_path / "link").symlink_to("elsewhere/target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("seeks", [False, True])
@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_is_written_through(tmp_path: Path, seeks: bool, linked: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    place = tmp_path / "fifo"
    if linked:
        place = tmp_path / "link"
        place.symlink_to("fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    with whole_file(place, seeks=seeks) as file:
        file.write(b"head....")
        if seeks:
            file.seek(4)
        file.write(b"tail")
    reader.join(10)
    assert read == [b"headtail" if seeks else b"head....tail"]
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert place.is_symlink() == linked


def test_a_device_is_written_through() -> None:
    ours, theirs = os.openpty()
    try:
        name = os.ttyname(theirs)
        write_text(name, "seen")
        assert os.read(ours, 10) == b"seen"
        assert stat.S_ISCHR(os.stat(name).st_mode)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("seeks", [False, True])
def test_a_full_disk_is_named(tmp_path: Path, seeks: bool) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught, whole_file(tmp_path / "full", seeks=seeks) as file:
        file.write(b"x" * 100_000)
    assert caught.value.filename == str(tmp_path / "full")


def test_what_cannot_be_written_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (("folder", "is a folder"), ("none/file", "No such file"), ("loop", "symbolic links")):
        with pytest.raises(OSError, match=said) as caught:
            write_text(tmp_path / name, "x")
        assert caught.value.filename == str(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "loop"}


STREAMS = """
import sys
from continuum_sim.traces.files import whole_text
print("before")
with whole_text(sys.argv[1]) as file:
    file.write("content\\n")
print("after")
"""


@pytest.mark.parametrize(
    ("name", "to_file"), [("/dev/stdout", True), ("/dev/stdout", False), ("/dev/fd/1", True), ("/proc/self/fd/1", True)]
)
def test_standard_output_is_one_stream_by_any_name(tmp_path: Path, name: str, to_file: bool) -> None:
    command = [sys.executable, "-c", STREAMS, name]
    if to_file:
        with (tmp_path / "out").open("wb") as out:
            subprocess.run(command, stdout=out, check=True)
        said = (tmp_path / "out").read_text()
    else:
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    assert said == "before\ncontent\nafter\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException], there: bool) -> None:
    if there:
        (tmp_path / "file").write_text("old")

    def fail() -> None:
        with whole_text(tmp_path / "file") as file:
            file.write("new" * 10_000)
            raise error

    with pytest.raises(error):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == (["old"] if there else [])


def test_folders_made_for_nothing_are_removed(tmp_path: Path) -> None:
    def fail() -> None:
        with staged_folder(tmp_path / "a" / "b" / "c", free) as staged:
            (staged / "file").touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from continuum_sim.traces.files import staged_folder, whole_file
place, when = Path(sys.argv[1]), int(sys.argv[2])
replace, calls = os.replace, []
def dying(*paths):
    calls.append(paths)
    if len(calls) == when:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = dying
if sys.argv[3] == "file":
    with whole_file(place) as file:
        file.write(b"new")
else:
    with staged_folder(place, lambda folder: None) as staged:
        (staged / "new").touch()
"""


def killed(place: Path, when: int, kind: str) -> None:
    """Write in a process that is killed at its `when`-th rename."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(place), str(when), kind])
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_goes_with_the_next_writer(tmp_path: Path) -> None:
    killed(tmp_path / "file", 1, "file")
    killed(tmp_path / "folder", 1, "folder")
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "file", "mine")
    with staged_folder(tmp_path / "folder", free) as staged:
        (staged / "mine").touch()
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder", "mine"}


def test_a_kill_between_the_renames_loses_no_earlier_results(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged_folder(out, free) as staged:
        (staged / "earlier").touch()
    killed(out, 2, "folder")
    assert not out.exists()

    seen: list[list[str]] = []
    with pytest.raises(ValueError, match="no"), staged_folder(out, lambda o: seen.append(os.listdir(o))):
        raise ValueError("no")
    assert seen == [["earlier"]]
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "earlier"]


def test_what_the_living_and_others_hold_is_let_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    others = [".out.1.tmp", ".out.1.old", ".out.new-xyz.tmp", "out.new-0123456789ab.tmp"]
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").touch()
    living = Path(beside(str(out), "new", "0" * 12))
    living.mkdir()
    lock = lock_folder(str(living))
    other = Path(beside(str(tmp_path / "out2"), "new", "1" * 12))
    other.mkdir()
    link = Path(beside(str(out), "new", "2" * 12))
    link.symlink_to(tmp_path / ".out.1.tmp")
    with staged_folder(out, free):
        with staged_folder(out, free):  # two at once
            pass
        out.rmdir()
    release(lock)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out", living.name, other.name, link.name, *others}
    assert all((tmp_path / name / "kept").exists() for name in others)


def test_long_and_odd_names_are_written(tmp_path: Path) -> None:
    for name in ("ü" * 127, "x" * 255, os.fsdecode(b"\xff\xfe"), "a b\n*"):
        Path(beside(str(tmp_path / name), "new", new_token())).touch()  # of a process that was killed
        write_text(tmp_path / name, "content")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


def test_a_spool_is_on_the_disk_of_the_file_and_has_no_name(tmp_path: Path) -> None:
    with spool(tmp_path / "file") as file:
        assert os.fstat(file.fileno()).st_dev == tmp_path.stat().st_dev
        assert list(tmp_path.iterdir()) == []
    with spool("/dev/stdout") as file:
        assert file.write(b"x") == 1


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    def write(text: str, inside: Callable[[], None] = lambda: None) -> None:
        with whole_text(tmp_path / "file") as file:
            file.write(text)
            inside()

    write("first", lambda: write("second"))
    assert (tmp_path / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
