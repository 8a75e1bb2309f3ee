"""The result of a search for parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.paired import PairedDifference
from continuum_sim.results.view.shown import Shown
from continuum_sim.results.view.sweep import tuned_view

if TYPE_CHECKING:
    import pandas as pd

    from continuum_sim.results.view import View


class Trial(msgspec.Struct, frozen=True):
    """One setting that was tried on the tuning seeds."""

    number: int
    parameters: dict[str, Any]
    value_s: float | None
    """The objective; None if the setting did not work."""
    reason: str = ""
    """Why it did not work."""


class Tuned(msgspec.Struct, Shown, frozen=True, kw_only=True):
    """The result of a search."""

    policy: str
    """The policy that was tuned, with the parameters that stayed fixed."""
    best: str
    """The same policy with the best parameters."""
    parameters: dict[str, Any]
    metric: str
    """The statistic of the JCT, over all programs under all seeds, that was minimised."""
    tuning_seeds: list[int]
    held_out_seeds: list[int]
    tuning: list[PairedDifference]
    """Best against default on the seeds that chose it: too good by construction."""
    held_out: list[PairedDifference]
    """The same on seeds that the search never saw: the result to believe."""
    trials: list[Trial]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per trial: number, value, parameters."""
        import pandas as pd

        return pd.DataFrame([{"number": t.number, "value_s": t.value_s, **t.parameters} for t in self.trials])

    def view(self) -> View:
        """Return the search as the rows of text that terminal and notebook show."""
        return tuned_view(self)

    def to_json(self) -> str:
        """Return the result as indented JSON."""
        return to_json(self)


class TuneProgress(NamedTuple):
    """Progress of a search."""

    trials: int
    done: int
    best_s: float | None
