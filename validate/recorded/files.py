"""The directory of a comparison: report, page, figures, and one row per request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuum_sim.results.files import MANIFEST, staged_directory
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.manifest import make_manifest
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.traces.files import whole_file, write_text
from continuum_sim.validate.recorded.log import RecordedLog
from continuum_sim.validate.recorded.page import make_page
from continuum_sim.validate.recorded.pictures import draw_engine, draw_requests
from continuum_sim.validate.recorded.replay import Replay
from continuum_sim.validate.recorded.report import BacktestReport
from continuum_sim.validate.recorded.timeseries import EngineSeries

if TYPE_CHECKING:
    import pyarrow as pa

REPORT: Final = "report.json"
PAGE: Final = "report.html"
REQUESTS: Final = "requests.parquet"
REQUESTS_PICTURE: Final = "requests.png"
ENGINE_PICTURE: Final = "engine.png"


def write_backtest(
    out: Path,
    report: BacktestReport,
    log: RecordedLog,
    simulated: Replay,
    run: ResolvedRun,
    series: EngineSeries | None,
    *,
    force: bool = False,
    command: Sequence[str] | None = None,
) -> None:
    """Write everything into a directory, which appears only once it is complete.

    Raises
    ------
    ConfigError
        If the directory is in use.
    OSError
        If it cannot be written.
    """
    import pyarrow.parquet as pq

    with staged_directory(out, force=force) as folder:
        write_text(folder / REPORT, to_json(report))
        manifest = make_manifest(run, wall_s=simulated.wall_s, command=command)
        write_text(folder / MANIFEST, to_json(manifest))
        with whole_file(folder / REQUESTS, seeks=True) as file:
            pq.write_table(_table(log, simulated), file, compression="zstd")
        draw_requests(log, simulated, report.tolerance, folder / REQUESTS_PICTURE)
        draw_engine(log, simulated, series, folder / ENGINE_PICTURE)
        page = make_page(report, [folder / REQUESTS_PICTURE, folder / ENGINE_PICTURE])
        write_text(folder / PAGE, page)


def _table(log: RecordedLog, simulated: Replay) -> pa.Table:
    """Return one row per request, in order of arrival; times in seconds since the first arrival."""
    import pyarrow as pa

    columns: dict[str, list[object]] = {
        "request_id": [one.request_id for one in log.requests],
        "arrival_s": [one.arrival_s for one in log.requests],
        "input_tokens": [one.input_tokens for one in log.requests],
        "output_tokens": [one.output_tokens for one in log.requests],
    }
    for field in ("scheduled_s", "first_token_s", "last_token_s"):
        for side, requests in (("recorded", log.requests), ("simulated", simulated.requests)):
            columns[f"{side}_{field}"] = [getattr(one, field) for one in requests]
    columns["simulated_preemptions"] = list(simulated.preemptions)
    floats = {name: pa.float64() for name in columns if name.endswith("_s")}
    names = {"request_id": pa.string()}
    schema = pa.schema([(name, floats.get(name) or names.get(name) or pa.int64()) for name in columns])
    return pa.table(columns, schema=schema)
