"""Names a user may type: the nearest one to a misspelt one, and registries of what carries a name.

A leaf that imports the standard library alone, so that every layer may import it: policies, routers, importers,
exporters, step-time models and figures are all found the same way.
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
        """What it is called."""


CLOSE: Final = 0.6
"""Similarity from which a known name is offered for an unknown one: two letters swapped in a name of three still have
it, `mi300x` and `h200` do not. The ratio of `difflib.SequenceMatcher`, and the default of `get_close_matches`."""

_SHOWN_CHARS: Final = 60
_SHOWN_BITS: Final = 128
"""What an error shows of a text and of a whole number, which may come from a file."""
_DIGITS_PER_BIT: Final = (30103, 100000)
"""log10(2) to five places, as a fraction: Python refuses to write out a number of many thousand digits."""


def shown(value: object, write: Callable[[Any], str] = repr) -> str:
    """Return a value as `write` writes it, short enough for the line of an error."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        times, by = _DIGITS_PER_BIT
        return f"a number of about {value.bit_length() * times // by + 1} digits"
    return clipped(write(value))


def clipped(text: str) -> str:
    """Return the beginning of a text, short enough for the line of an error."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, in whatever case, or None if none is close."""
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=CLOSE)
    return folded[close[0]] if close else None


def unknown(
    what: str, name: str, known: Iterable[str], *, of: str = "", guess: str | None = None, remedy: str | None = None
) -> str:
    """Say in one line that there is no such name, which was probably meant, and which there are.

    Parameters
    ----------
    what
        What is named: `policy`, `GPU`.
    name
        As the user wrote it.
    known
        The names there are.
    of
        What it would belong to: `policy ttl`.
    guess
        The name that was probably meant, where it is not the nearest of `known`.
    remedy
        What to do, in place of the list of all names.
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
        What `error` makes of the text of `unknown`.
    """
    names = list(known)
    for name in given:
        if name not in names:
            raise error(unknown(what, name, names, of=of))


class Registry(dict[str, T]):
    """Everything of one kind by name: what the files of a folder define, and what other packages ship.

    A file in the folder is all it takes to add one. `load` imports the folder and looks the entry points up, once. An
    entry point that cannot be loaded is left out with a warning: it takes nothing else down.

    Parameters
    ----------
    what
        What is named, for messages: `importer`.
    error
        Raised for an unknown name and one that is taken.
    kind
        Class of the things, each with a `name`. None where files register what they define by calling `add`.
    folder
        Package whose modules define things.
    group
        Entry-point group of other packages. An entry point names a thing, or a module that calls `add`.
    adopt
        Makes a thing of an entry point's name and of what it names, where that is not one already.
    again
        Whether a second thing of a name is the first one, made again.
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
        """Make a thing known under a name.

        Raises
        ------
        Exception
            The registry's error, if the name is taken; running a notebook's cell again is not a second thing.
        """
        if name in self and self[name] is not thing and not self._again(self[name], thing):
            raise self._error(f"{self.what} {name!r} is registered twice; give one of them another name")
        self[name] = thing

    def load(self) -> Registry[T]:
        """Import the folder, by file name, and then what other packages ship; the registry itself is returned."""
        if not self._loaded:
            self._loaded = True
            for module in [] if self._folder is None else modules_of(self._folder):
                self._take(module)
            for point in [] if self._group is None else entry_points(group=self._group):
                self._take_point(point.name, point.value, point.load)
        return self

    def find(self, name: str) -> T:
        """Look a thing up.

        Raises
        ------
        Exception
            The registry's error, with the nearest name and all of them.
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
                return  # it has registered itself
            if not isinstance(thing, self._kind):
                if self._adopt is None:
                    raise TypeError(f"is {type(thing).__name__}, expected {self._kind.__name__}")
                thing = self._adopt(name, thing)
            self.add(cast(Named, thing).name, thing)
        except Exception as error:
            print(f"warning: {self.what} {name!r} cannot be loaded ({place}): {error}", file=sys.stderr)


def modules_of(package: str) -> list[ModuleType]:
    """Import every module of a package, by name."""
    folder = import_module(package)
    return [import_module(f"{package}.{found.name}") for found in iter_modules(folder.__path__)]


def ran_again(old: object, new: object) -> bool:
    """Whether a class or function is that of a notebook's cell that ran again, perhaps edited."""
    homes = {getattr(one, "__module__", None) for one in (old, new)}
    names = {getattr(one, "__qualname__", None) for one in (old, new)}
    return homes == {"__main__"} and len(names) == 1 and None not in names


def files_of(package: str, pattern: str) -> list[Path]:
    """Return the files of a package that match a pattern, as `generate/profiles/*.json`; it is not imported."""
    spec = find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return sorted(path for folder in folders for path in Path(folder).glob(pattern))


@cache
def names_in_source(package: str, call: str, pattern: str = "*.py") -> list[str]:
    """Return the names that files of a package give to `call("NAME", …)`, sorted; nothing is imported.

    For help texts, which must not wait for imports. What other packages ship is not among them.
    """
    texts = (path.read_text(encoding="utf-8") for path in files_of(package, pattern))
    calls = (after for text in texts if call in text for after in text.split(f"{call}(")[1:])
    return sorted({found[1] for after in calls if (found := re.match(r'\s*"([^"]+)"', after))})
