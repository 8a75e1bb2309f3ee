"""Give parameters that are documented together types and defaults of their own.

Griffe gives every name of a NumPy docstring's `a, b, c` the type and the default of the first one.
"""

from __future__ import annotations

from typing import Any

import griffe


class OwnTypes(griffe.Extension):
    """Takes types and defaults from the signature, parameter by parameter."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Mend every docstring of a package that has been loaded."""
        _mend(pkg)


def _mend(outer: griffe.Module | griffe.Class) -> None:
    for member in outer.members.values():
        if isinstance(member, griffe.Alias):
            continue
        if isinstance(member, griffe.Function | griffe.Class) and member.docstring is not None:
            _mend_parameters(member, member.docstring)
        if isinstance(member, griffe.Module | griffe.Class):
            _mend(member)


def _mend_parameters(owner: griffe.Function | griffe.Class, docstring: griffe.Docstring) -> None:
    for section in docstring.parsed:
        if section.kind is griffe.DocstringSectionKind.parameters:
            for documented in section.value:
                if documented.name in owner.parameters:
                    own = owner.parameters[documented.name]
                    documented.annotation, documented.value = own.annotation, own.default
