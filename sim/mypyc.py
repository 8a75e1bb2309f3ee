"""`mypyc_attr`, by which a class tells mypyc how to compile it; in plain Python it does nothing and needs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**settings: Any) -> Any:
        """Class decorator that returns the class as it is."""
        return lambda cls: cls
