"""How notebooks display a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from continuum_sim.results.view.parts import View


class Shown:
    """A result with a view, which notebooks show instead of its `repr`."""

    __slots__ = ()

    def view(self) -> View:
        """Return the result as the rows of text that the terminal and the page show as well."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        # Imported only here: code that never displays a result needs no layout.
        from continuum_sim.report.layout import fragment

        return fragment(self.view())
