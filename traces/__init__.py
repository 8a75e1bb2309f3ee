"""Agent traces: programs of turns and tool calls, in token counts and seconds, no text.

`find_trace` and `read_programs` read a trace file one program at a time, `write_programs` writes one;
`ARRIVALS` holds the processes that decide when programs arrive; `trace_stats` describes a trace;
`check_trace` reads a trace to its end, `rescale_trace` changes its size, `mix_traces` blends several traces into one,
`anonymize_trace` removes names;
`fit_trace` fits distributions to a trace, `generate_programs` draws programs from them, `compare_traces` sets two
traces side by side; `generate_bfcl` and `generate_swe` draw workloads for which only summary figures are public;
`import_trace` makes a trace from the logs of agents and the formats of other tools, and `export_trace` does the
reverse. The format: ``docs/traces.md``.

This package does not depend on policies, the simulator or vLLM.
"""

from continuum_sim.traces.anonymize import anonymize_trace
from continuum_sim.traces.arrivals import (
    ARRIVALS,
    Arrivals,
    Burst,
    Closed,
    FromTrace,
    Gamma,
    OpenArrivals,
    Poisson,
    Uniform,
)
from continuum_sim.traces.check import check_program
from continuum_sim.traces.check_file import CheckedTrace, check_trace
from continuum_sim.traces.compare import Compared, compare_traces
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.exporters import export_trace
from continuum_sim.traces.fit import TraceFit, fit_trace, load_fit, save_fit
from continuum_sim.traces.generate import (
    Recipe,
    bundled_bfcl,
    find_fit,
    find_profile,
    generate_bfcl,
    generate_programs,
    generate_swe,
    generate_trace,
    profiles,
    recipes,
)
from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.importers import import_trace
from continuum_sim.traces.load import bundled_traces, find_trace, read_header, read_programs, trace_sha256
from continuum_sim.traces.mix import Mixed, MixPart, mix_traces
from continuum_sim.traces.repeat import repeat_turns
from continuum_sim.traces.rescale import rescale_trace
from continuum_sim.traces.scale import Scale, Tail, parse_scale, parse_tail
from continuum_sim.traces.schema import Child, Program, SharedPrefix, ToolCall, Turn, tool_label, truncate
from continuum_sim.traces.stats import LongestCall, SampleSummary, ToolStats, TraceStats, trace_stats
from continuum_sim.traces.unfit import Fitting
from continuum_sim.traces.write import write_programs

__all__ = [
    "ARRIVALS",
    "Arrivals",
    "Burst",
    "CheckedTrace",
    "Child",
    "Closed",
    "Compared",
    "Fitting",
    "FromTrace",
    "Gamma",
    "LongestCall",
    "MixPart",
    "Mixed",
    "OpenArrivals",
    "Poisson",
    "Program",
    "Recipe",
    "SampleSummary",
    "Scale",
    "SharedPrefix",
    "Tail",
    "ToolCall",
    "ToolStats",
    "TraceError",
    "TraceFit",
    "TraceHeader",
    "TraceStats",
    "Turn",
    "Uniform",
    "anonymize_trace",
    "bundled_bfcl",
    "bundled_traces",
    "check_program",
    "check_trace",
    "compare_traces",
    "export_trace",
    "find_fit",
    "find_profile",
    "find_trace",
    "fit_trace",
    "generate_bfcl",
    "generate_programs",
    "generate_swe",
    "generate_trace",
    "import_trace",
    "load_fit",
    "mix_traces",
    "parse_scale",
    "parse_tail",
    "profiles",
    "read_header",
    "read_programs",
    "recipes",
    "repeat_turns",
    "rescale_trace",
    "save_fit",
    "tool_label",
    "trace_sha256",
    "trace_stats",
    "truncate",
    "write_programs",
]
