"""Names that users type: find the nearest name to a misspelt one, and registries of named things.

This leaf imports only the standard library, so that every layer may import it: policies, routers, importers, exporters,
step-time models and figures are all found the same way.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final, Protocol, TypeVar, cast

T = TypeVar("T")


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name."""


CLOSE: Final = 0.6
"""Similarity from which a known name is suggested for an unknown one: two swapped letters in a name of three still
reach it, `mi300x` and `h200` do not. The ratio of `difflib.SequenceMatcher`, and `get_close_matches`' default."""

_SHOWN_CHARS: Final = 60
_SHOWN_BITS: Final = 128
"""Most characters of a text, and bits of a whole number, that an error shows; both may come from a file."""
_DIGITS_PER_BIT: Final = (30103, 100000)
"""log10(2) to five places, as a fraction: Python refuses to write out a number of many thousand digits."""


def shown(value: object, write: Callable[[Any], str] = repr) -> str:
    """Return a value as formatted by `write`, short enough for a one-line error."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        times, by = _DIGITS_PER_BIT
        return f"a number of about {value.bit_length() * times // by + 1} digits"
    return clipped(write(value))


def clipped(text: str) -> str:
    """Return the beginning of a text, short enough for a one-line error."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, ignoring case; None if none is close."""
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=CLOSE)
    return folded[close[0]] if close else None


def unknown(
    what: str, name: str, known: Iterable[str], *, of: str = "", guess: str | None = None, remedy: str | None = None
) -> str:
    """Return a one-line message that a name is unknown, with the name probably meant and the known names.

    Parameters
    ----------
    what
        Kind of thing named: `policy`, `GPU`.
    name
        The name as the user wrote it.
    known
        The known names.
    of
        Owner of the name: `policy ttl`.
    guess
        The name probably meant, if it is not the nearest of `known`.
    remedy
        What to do, printed instead of the list of all names.
    """
    names = list(known)
    near = guess or nearest(name, names)
    meant = ";" if near is None else f", did you mean {near!r}?"
    listed = "known: " + (", ".join(names) or "none") if remedy is None else remedy
    return f"unknown {what} {clipped(name)!r}{f' of {of}' if of else ''}{meant} {listed}"


def check_names(
    given: Iterable[str], known: Iterable[str], what: str, *, error: Callable[[str], Exception], of: str = ""
) -> None:
    """Refuse the first name that is not known.

    Raises
    ------
    Exception
        The result of `error`, called with the message of `unknown`.
    """
    names = list(known)
    for name in given:
        if name not in names:
            raise error(unknown(what, name, names, of=of))


class Registry(dict[str, T]):
    """Everything of one kind by name: from the files of a folder, and from other packages.

    Adding a file to the folder is enough to add a thing. `load` imports the folder and looks up the entry points, once.
    An entry point that cannot be loaded is left out with a warning; everything else keeps working.

    Parameters
    ----------
    what
        Kind of thing, for messages: `importer`.
    error
        Raised for an unknown name, or one that is taken.
    kind
        Class of the things, each with a `name`. None if files register what they define by calling `add`.
    folder
        Package whose modules define things.
    group
        Entry-point group of other packages. An entry point names a thing, or a module that calls `add`.
    adopt
        Makes a thing from an entry point's name and the object it names, if that is not already one.
    again
        Returns True if a second thing of the same name is the first one, made again.
    """

    def __init__(
        self,
        what: str,
        *,
        error: Callable[[str], Exception],
        kind: type[T] | None = None,
        folder: str | None = None,
        group: str | None = None,
        adopt: Callable[[str, Any], T] | None = None,
        again: Callable[[T, T], bool] | None = None,
    ) -> None:
        super().__init__()
        self.what = what
        self._error, self._kind, self._folder, self._group, self._adopt = error, kind, folder, group, adopt
        self._again = again or ran_again
        self._loaded = False

    def add(self, name: str, thing: T) -> None:
        """Register a thing under a name.

        Raises
        ------
        Exception
            The registry's error, if the name is taken; a notebook's cell may be run again.
        """
        if name in self and self[name] is not thing and not self._again(self[name], thing):
            raise self._error(f"{self.what} {name!r} is registered twice; give one of them another name")
        self[name] = thing

    def load(self) -> Registry[T]:
        """Import the folder, in order of file names, then the things of other packages; return the registry."""
        if not self._loaded:
            self._loaded = True
            for module in [] if self._folder is None else modules_of(self._folder):
                self._take(module)
            for point in [] if self._group is None else entry_points(group=self._group):
                self._take_point(point.name, point.value, point.load)
        return self

    def find(self, name: str) -> T:
        """Look up a thing.

        Raises
        ------
        Exception
            The registry's error, with the nearest name and all known names.
        """
        self.load()
        if name not in self:
            raise self._error(unknown(self.what, name, sorted(self)))
        return self[name]

    def _take(self, module: ModuleType) -> None:
        if self._kind is not None:
            for thing in vars(module).values():
                if isinstance(thing, self._kind):
                    self.add(cast(Named, thing).name, thing)

    def _take_point(self, name: str, place: str, load: Callable[[], Any]) -> None:
        try:
            thing = load()
            if self._kind is None or isinstance(thing, ModuleType):
                return  # the module registered its things itself
            if not isinstance(thing, self._kind):
                if self._adopt is None:
                    raise TypeError(f"is {type(thing).__name__}, expected {self._kind.__name__}")
                thing = self._adopt(name, thing)
            self.add(cast(Named, thing).name, thing)
        except Exception as error:
            print(f"warning: {self.what} {name!r} cannot be loaded ({place}): {error}", file=sys.stderr)


def modules_of(package: str) -> list[ModuleType]:
    """Import every module of a package, in order of names."""
    folder = import_module(package)
    return [import_module(f"{package}.{found.name}") for found in iter_modules(folder.__path__)]


def ran_again(old: object, new: object) -> bool:
    """Return True if a class or function comes from a notebook's cell that ran again, perhaps edited."""
    homes = {getattr(one, "__module__", None) for one in (old, new)}
    names = {getattr(one, "__qualname__", None) for one in (old, new)}
    return homes == {"__main__"} and len(names) == 1 and None not in names


def files_of(package: str, pattern: str) -> list[Path]:
    """Return the files of a package that match a pattern such as `generate/profiles/*.json`, without importing it."""
    spec = find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return sorted(path for folder in folders for path in Path(folder).glob(pattern))


@cache
def names_in_source(package: str, call: str, pattern: str = "*.py") -> list[str]:
    """Return the names that files of a package pass to `call("NAME", …)`, sorted, without importing anything.

    For help texts, which must not wait for imports. Names from other packages are not included.
    """
    texts = (path.read_text(encoding="utf-8") for path in files_of(package, pattern))
    calls = (after for text in texts if call in text for after in text.split(f"{call}(")[1:])
    return sorted({found[1] for after in calls if (found := re.match(r'\s*"([^"]+)"', after))})
