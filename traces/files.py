"""The one writer of files and folders: whole or not at all, and nothing replaced that is no regular file.

A new or regular file is written beside its place under a name nobody else has, and renamed when it is whole; links are
followed and stay. A device, a FIFO or an open descriptor (`/dev/null`, `/dev/stdout`) is written through. A folder is
staged the same way.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, cast

from continuum_sim.interrupts import uninterrupted
from continuum_sim.traces.leftovers import beside, clear_leftovers, lock_file, lock_folder, new_token, release

_DESCRIPTOR: Final = re.compile(r"/dev/fd/(\d+)|/proc/(self|thread-self|\d+)/fd/(\d+)")
_MOST_LINKS: Final = 40


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file in UTF-8; see `whole_file`."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file; see `whole_file`."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Give a stream of UTF-8 text; see `whole_file`."""
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


@contextmanager
def whole_file(path: str | os.PathLike[str], *, seeks: bool = False, durable: bool = False) -> Iterator[BinaryIO]:
    """Give a stream; what is written to it is the file's content if the block succeeds, and forgotten if not.

    Only what goes through a device, a FIFO or a descriptor cannot be taken back.

    Parameters
    ----------
    path
        The file. If there is one, its mode and owner are kept.
    seeks
        Whether the writer moves about in the stream, which a FIFO does not allow: it gets a temporary file then.
    durable
        Whether to wait until the content is on the disk.

    Raises
    ------
    OSError
        With the path, if it is a folder or cannot be written.
    """
    place = os.fspath(path)
    if (descriptor := _descriptor(place)) is not None:
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        with _errors_named(place):
            opened = os.dup(descriptor)
        with _through(opened, place, seeks) as file:
            yield file
        return
    before = _status(place)
    if before is None or stat.S_ISREG(before.st_mode):
        with _renamed(place, before, durable=durable) as file:
            yield file
        return
    with _through(os.open(place, os.O_WRONLY | getattr(os, "O_NOCTTY", 0)), place, seeks) as file:
        yield file


@contextmanager
def spool(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a nameless temporary file for content on its way to a file: on the same disk, unless that is a device."""
    place = os.fspath(path)
    before = None if _descriptor(place) is not None else _status(place)
    regular = _descriptor(place) is None and (before is None or stat.S_ISREG(before.st_mode))
    folder = os.path.dirname(os.path.realpath(place)) if regular else None
    with ExitStack() as stack:
        with _errors_named(place):
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        yield cast(BinaryIO, file)


def refuse_folder(path: str | os.PathLike[str]) -> None:
    """Refuse a folder where a file is to be written.

    Raises
    ------
    IsADirectoryError
        With the path.
    """
    if os.path.isdir(path):
        raise _folder_error(os.fspath(path))


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Whether what is written to this file goes to standard output."""
    return _descriptor(os.fspath(path)) == 1


@contextmanager
def staged_folder(path: str | os.PathLike[str], check: Callable[[Path], None]) -> Iterator[Path]:
    """Give a new folder that takes the place of `path` if the block succeeds, and is removed if not.

    Folders above it are made, and removed again if nothing comes of it. Earlier content that `check` lets pass is
    removed once the new one is in its place. If a kill comes between the two, the next process here puts it back.

    Parameters
    ----------
    path
        The folder; a link is followed.
    check
        Called with the place before the block and after it; refuses one that is taken by raising.

    Raises
    ------
    OSError
        With the path, if it cannot be made.
    """
    out = os.path.realpath(path)
    clear_leftovers(out)
    check(Path(out))
    parent = os.path.dirname(out)
    missing = _missing_folders(parent)
    done = False
    try:
        with _errors_named(os.fspath(path)):
            os.makedirs(parent, exist_ok=True)
        while True:
            token = new_token()
            staged = beside(out, "new", token)
            lock = None
            try:
                with _errors_named(os.fspath(path)):
                    os.mkdir(staged)
                lock = lock_folder(staged)
                if not os.path.isdir(staged):  # taken for a leftover before the lock was on it
                    continue
                yield Path(staged)
                check(Path(out))  # somebody may have written there since
                with uninterrupted():
                    _put_in_place(staged, out, beside(out, "old", token))
                done = True
                return
            finally:
                shutil.rmtree(staged, ignore_errors=True)
                release(lock)
    finally:
        if not done:
            for folder in missing:
                with suppress(OSError):
                    os.rmdir(folder)


def _put_in_place(staged: str, out: str, old: str) -> None:
    """Rename the new folder to the old one's name; the old one comes back if that fails."""
    if not os.path.isdir(out) or not os.listdir(out):
        os.replace(staged, out)
        return
    os.replace(out, old)
    try:
        os.replace(staged, out)
    except BaseException:
        if os.path.isdir(staged):
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _renamed(place: str, before: os.stat_result | None, *, durable: bool) -> Iterator[BinaryIO]:
    target = os.path.realpath(place)
    clear_leftovers(target)
    while True:
        temporary = beside(target, "new", new_token())
        lock = None
        try:
            with _errors_named(place):
                # The mode is what the user's umask makes of this.
                opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            with _stream(opened, place) as file:
                lock = lock_file(opened)
                if not os.path.exists(temporary):  # taken for a leftover before the lock was on it
                    continue
                if before is not None:
                    _take_over(temporary, before)
                yield file
                if not file.closed:
                    file.flush()
                    if durable:
                        with _errors_named(place):
                            os.fsync(opened)
            with uninterrupted(), _errors_named(place):
                os.replace(temporary, target)
            return
        finally:
            with suppress(OSError):
                os.unlink(temporary)
            release(lock)


def _take_over(path: str, before: os.stat_result) -> None:
    """Give a file the owner, where that is allowed, and the mode of the one it will replace."""
    now = os.stat(path)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with suppress(OSError, AttributeError):
            os.chown(path, before.st_uid, before.st_gid)
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(before.st_mode))


@contextmanager
def _through(descriptor: int, place: str, seeks: bool) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        target = stack.enter_context(_stream(descriptor, place))
        if not seeks:
            yield target
            return
        with tempfile.TemporaryFile() as file:
            yield cast(BinaryIO, file)
            file.seek(0)
            shutil.copyfileobj(file, target, 2**20)


@contextmanager
def _stream(descriptor: int, place: str) -> Iterator[BinaryIO]:
    """Give a buffered stream; after an error its buffer is dropped rather than flushed."""
    raw = _NamedFile(descriptor, place)
    file = io.BufferedWriter(raw)
    try:
        yield cast(BinaryIO, file)
        if not file.closed:
            file.flush()
    except BaseException:
        raw.close()
        raise
    finally:
        with suppress(ValueError):  # flushing what is closed
            file.close()


class _NamedFile(io.FileIO):
    """A file whose errors name it: those of `write(2)` do not by themselves."""

    def __init__(self, descriptor: int, place: str) -> None:
        with _errors_named(place):
            super().__init__(descriptor, "wb")
        self._place = place

    def write(self, data: Any, /) -> Any:
        with _errors_named(self._place):
            return super().write(data)


@contextmanager
def _errors_named(place: str) -> Iterator[None]:
    """Have errors of the file system name the file as the user knows it."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, place) from None


def _status(place: str) -> os.stat_result | None:
    """Say what is there, links followed; None if nothing is.

    Raises
    ------
    OSError
        If it is a folder, or cannot be looked at.
    """
    try:
        found = os.stat(place)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise _folder_error(place)
    return found


def _folder_error(place: str) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, "is a folder, expected a file to write", place)


def _descriptor(place: str) -> int | None:
    """Return the descriptor of this process that a name such as `/dev/stdout` stands for, if it is one."""
    name = os.path.abspath(place)
    for _ in range(_MOST_LINKS):
        if found := _DESCRIPTOR.fullmatch(name):
            own = found[2] in (None, "self", "thread-self", str(os.getpid()))
            return int(found[1] or found[3]) if own else None
        try:
            name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
        except OSError:
            return None
    return None


def _missing_folders(folder: str) -> list[str]:
    """Name the folders that would have to be made for this one, the innermost first."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing
