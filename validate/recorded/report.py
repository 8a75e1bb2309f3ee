"""Results of a backtest: simulated against recorded, number by number, and whether they are close enough."""

from __future__ import annotations

from typing import Any

import msgspec

from continuum_sim.results.view import Shown, View


class Figure(msgspec.Struct, frozen=True):
    """One number, recorded and simulated."""

    name: str
    recorded: float
    simulated: float
    error: float | None
    """Simulated over recorded, less 1; None if the recorded number is 0."""
    error_low: float | None = None
    """95 % of the errors lie between `error_low` and `error_high` when this log's requests are resampled: how much
    depends on single requests, not an interval for another log. None for a number of the run as a whole."""
    error_high: float | None = None


class Agreement(msgspec.Struct, frozen=True):
    """How both sides agree request by request, and as distributions."""

    median_error: float | None
    """Median of |simulated over recorded, less 1|."""
    p90_error: float | None
    within_tolerance: float | None
    """Share of requests whose own error is within the tolerance."""
    kendall_tau: float | None
    distribution_error: float | None
    """Mean distance between both sides' k-th smallest values (Wasserstein-1), as a share of the recorded mean."""


class Metric(msgspec.Struct, frozen=True):
    """One duration of a request, in seconds."""

    name: str
    title: str
    requests: int
    figures: list[Figure]
    """Mean, p50, p90, p95, p99."""
    agreement: Agreement

    @property
    def mean(self) -> Figure:
        """The figure that is judged."""
        return self.figures[0]


class Verdict(msgspec.Struct, frozen=True):
    """The judgement of one number."""

    metric: str
    error: float
    within: bool
    """True if the error is within the tolerance."""
    settled: bool
    """True if both bounds of the error are on the same side of the tolerance."""


class Gauge(msgspec.Struct, frozen=True):
    """One of the engine's gauges over the run, recorded and simulated, at the recorded times."""

    name: str
    recorded_mean: float
    simulated_mean: float
    mean_distance: float
    """Mean of |simulated − recorded|."""


class Gauges(msgspec.Struct, frozen=True):
    """The engine's gauges over time."""

    rows: int
    clock_s: float
    """Time of the first arrival on the series' clock."""
    clock_distance: float
    """Mean difference between running + waiting in the series and the requests in the system according to the log."""
    gauges: list[Gauge]


class Setting(msgspec.Struct, frozen=True):
    """A setting of the simulated engine."""

    value: str | int | float
    origin: str
    """`given`, `recorded` or `default`."""


class Source(msgspec.Struct, frozen=True):
    """The log that was read."""

    path: str
    sha256: str
    format: str
    requests: int
    input_tokens: int
    output_tokens: int
    measured: list[str]
    derived: list[str]
    missing: list[str]


class BacktestReport(msgspec.Struct, Shown, frozen=True):
    """Comparison of a simulation with a recorded run."""

    passed: bool
    """True if every verdict is within the tolerance."""
    tolerance: float
    verdicts: list[Verdict]
    source: Source
    engine: dict[str, Setting]
    step_time: dict[str, Any]
    metrics: list[Metric]
    run: list[Figure]
    """Numbers of the run as a whole."""
    simulated_preemptions: int
    recorded_preemptions: int | None
    """None if they were not recorded."""
    simulated_steps: int
    gauges: Gauges | None
    wall_s: float
    """Wall-clock seconds that the simulation took."""
    notes: list[str]

    def view(self) -> View:
        """Return the report as rows of text, for terminal, page and notebook."""
        from continuum_sim.validate.recorded.rows import backtest_view

        return backtest_view(self)

    @property
    def exit_code(self) -> int:
        """0 if it passed, 1 if not."""
        return 0 if self.passed else 1

    def metric(self, name: str) -> Metric | None:
        """Return a metric by name, None if the log does not have it."""
        return next((metric for metric in self.metrics if metric.name == name), None)
