"""Give parameters that are documented together types and defaults of their own, and settings theirs.

Griffe gives every name of a NumPy docstring's `a, b, c` the type and the default of the first one, and a field that is
declared with `setting(DEFAULT, HELP, …)` that call for a default.
"""

from __future__ import annotations

import ast
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
        if isinstance(member, griffe.Attribute):
            _mend_setting(member, outer)
        if isinstance(member, griffe.Module | griffe.Class):
            _mend(member)


def _mend_setting(field: griffe.Attribute, owner: griffe.Module | griffe.Class) -> None:
    call = field.value
    if isinstance(call, griffe.ExprCall) and str(call.function) == "setting":
        default, meaning = call.arguments[:2]
        field.value = default
        if isinstance(owner, griffe.Class) and field.name in owner.parameters:
            owner.parameters[field.name].default = default
        if field.docstring is None:
            field.docstring = griffe.Docstring(ast.literal_eval(str(meaning)), parent=field)


def _mend_parameters(owner: griffe.Function | griffe.Class, docstring: griffe.Docstring) -> None:
    for section in docstring.parsed:
        if section.kind is griffe.DocstringSectionKind.parameters:
            for documented in section.value:
                if documented.name in owner.parameters:
                    own = owner.parameters[documented.name]
                    documented.annotation, documented.value = own.annotation, own.default
