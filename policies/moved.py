"""Errors for what policies of earlier versions import and has moved or gone: they say what to change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final

_ROOMS: Final = ("rules", "parts", "host")
"""Folders that modules of `policies/` moved into."""

_GONE: Final = {"Recall": "set Retention.recalls and answer from review with Review(bring=…, again_s=…)"}
"""Removed name -> what to use instead."""


class _Moved(MetaPathFinder):
    """Import hook that is asked last, about modules that no other finder found."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise an error that names the module's new place, if it has one."""
        package, _, name = fullname.rpartition(".")
        if package == self._package:
            for room in _ROOMS:
                place = f"{package}.{room}"
                folders = [f"{folder}/{room}" for folder in path or []]
                if PathFinder.find_spec(f"{place}.{name}", folders) is not None:
                    raise ModuleNotFoundError(
                        f"{fullname} is {place}.{name} now; import what a policy needs from {package} itself",
                        name=fullname,
                    )
        return None


def point_to_new_places(package: str) -> None:
    """Make imports of modules that moved within a package fail with an error that names the new place."""
    sys.meta_path.append(_Moved(package))


def missing(module: str, name: str) -> Exception:
    """Return the error for a name that a module does not have, or no longer has."""
    if name in _GONE:
        return ImportError(f"there is no {name} any more: {_GONE[name]}", name=module)
    return AttributeError(f"module {module!r} has no attribute {name!r}")
