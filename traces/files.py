"""The only writer of files and folders: each is written whole or not at all, and only regular files are replaced.

A new or regular file is written beside its target under a name nobody else has, and renamed when it is complete; links
are followed and kept. A device, a FIFO or an open descriptor (`/dev/null`, `/dev/stdout`) is written through. A folder
is staged the same way.
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
    """Yield a stream of UTF-8 text; see `whole_file`."""
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


@contextmanager
def whole_file(path: str | os.PathLike[str], *, seeks: bool = False, durable: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream; what is written to it becomes the file's content if the block succeeds, and is dropped if not.

    What has been written through a device, a FIFO or a descriptor cannot be taken back.

    Parameters
    ----------
    path
        The file. If it exists, its mode and owner are kept.
    seeks
        Whether the writer seeks in the stream; a FIFO does not allow that, so a temporary file is used for it.
    durable
        Whether to wait until the content is on the disk.

    Raises
    ------
    OSError
        If the path is a folder or cannot be written; the error names it.
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
    """Yield a nameless temporary file for a file's content: on the same disk, unless the file is a device."""
    place = os.fspath(path)
    before = None if _descriptor(place) is not None else _status(place)
    regular = _descriptor(place) is None and (before is None or stat.S_ISREG(before.st_mode))
    folder = os.path.dirname(os.path.realpath(place)) if regular else None
    with ExitStack() as stack:
        with _errors_named(place):
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        yield cast(BinaryIO, file)


def refuse_folder(path: str | os.PathLike[str]) -> None:
    """Raise if a file is to be written where a folder is.

    Raises
    ------
    IsADirectoryError
        With the path of the folder.
    """
    if os.path.isdir(path):
        raise _folder_error(os.fspath(path))


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Return True if what is written to this file goes to standard output."""
    return _descriptor(os.fspath(path)) == 1


@contextmanager
def staged_folder(path: str | os.PathLike[str], check: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a new folder that takes the place of `path` if the block succeeds, and is removed if not.

    Missing parent folders are made, and removed again if the block fails. Earlier content that `check` accepts is
    removed once the new folder is in place. If the process is killed between the two, the next one here restores it.

    Parameters
    ----------
    path
        The folder; a link is followed.
    check
        Called with `path` before and after the block; raises to refuse a folder that is in use.

    Raises
    ------
    OSError
        If the folder cannot be made; the error names it.
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
                if not os.path.isdir(staged):  # cleared away as a leftover before it was locked
                    continue
                yield Path(staged)
                check(Path(out))  # another process may have written there since
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
    """Rename the new folder to the old one's name; if that fails, restore the old one."""
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
                if not os.path.exists(temporary):  # cleared away as a leftover before it was locked
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
    """Give a new file the mode and, where allowed, the owner of the file that it will replace."""
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
    """Yield a buffered stream; after an error its buffer is dropped rather than flushed."""
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
        with suppress(ValueError):  # flushing a closed stream
            file.close()


class _NamedFile(io.FileIO):
    """A file whose errors name it, which those of `write(2)` do not."""

    def __init__(self, descriptor: int, place: str) -> None:
        with _errors_named(place):
            super().__init__(descriptor, "wb")
        self._place = place

    def write(self, data: Any, /) -> Any:
        with _errors_named(self._place):
            return super().write(data)


@contextmanager
def _errors_named(place: str) -> Iterator[None]:
    """Make file-system errors name the file as the user knows it."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, place) from None


def _status(place: str) -> os.stat_result | None:
    """Return the status of what is there, links followed, or None if nothing is.

    Raises
    ------
    OSError
        If a folder is there, or the path cannot be looked up.
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
    """Return this process's descriptor that a name such as `/dev/stdout` stands for, or None."""
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
    """Return the folders that must be made to reach this one, innermost first."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing
