"""How a notebook shows a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from continuum_sim.results.view.parts import View


class Shown:
    """A result that has a view; a notebook shows it as a table instead of its `repr`."""

    __slots__ = ()

    def view(self) -> View:
        """Return the result as rows of text, the same that the terminal and the page show."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        # Not before it is shown: a layout is needed by whoever looks, and by nobody else.
        from continuum_sim.report.layout import fragment

        return fragment(self.view())
