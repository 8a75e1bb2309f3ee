"""Random small traces and engines that reach the corners of a scheduler."""

from __future__ import annotations

from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.policies import PRESETS
from continuum_sim.traces.schema import Program, SharedPrefix, Turn

VARIANTS = (
    "ttl-static:ttl=0.5",
    "ttl-static:ttl=0.5,pressure=head",
    "ttl-static:ttl=30,pressure=younger",
    "ttl-static:ttl=30,pressure=head",
    "pin-forever:pressure=younger",
    "pin-forever:pressure=head",
    "ttl:cold_start=2",
    "ttl:cold_start=3,pressure=head",
    "ttl:cold_start=0,pressure=younger",
    "order=pinned-first",
    "order=arrival,retention=ttl-static:ttl=0.3",
    "order=program-fifo,retention=evict",
)
"""Settings beside the presets' own: every pressure rule, cold starts that end, compositions."""

policies = st.deferred(lambda: st.sampled_from([*sorted(PRESETS), *VARIANTS]))


@st.composite
def turns(draw: st.DrawFn, gaps: st.SearchStrategy[float], prefix_tokens: int) -> tuple[Turn, ...]:
    count = draw(st.integers(1, 5))
    made: list[Turn] = []
    left = 0
    for index in range(count):
        # Mostly an agent that keeps all; sometimes one that drops its reasoning or compacts its context.
        kept = left if draw(st.integers(0, 3)) else draw(st.integers(0, left))
        new = draw(st.one_of(st.integers(0, 6), st.integers(0, 40)))
        prompt = max(kept + new, 1, prefix_tokens if index == 0 else 1)
        if draw(st.integers(0, 4)) == 0:
            prompt = -(-prompt // 4) * 4
        output = draw(st.one_of(st.integers(1, 60), st.integers(1, 4)))
        last = index == count - 1
        tool = None if last else draw(st.sampled_from(["ls", "grep"]))
        made.append(Turn(prompt, kept, output, tool, 0.0 if last else draw(gaps)))
        left = prompt + output
    return tuple(made)


@st.composite
def traces(
    draw: st.DrawFn,
    gaps: st.SearchStrategy[float] | None = None,
    arrivals: st.SearchStrategy[float] | None = None,
) -> list[Program]:
    """2 to 6 programs in order of arrival; some arrive together, some share a prefix, some gaps are zero."""
    gaps = gaps if gaps is not None else st.one_of(st.just(0.0), st.floats(1e-3, 5.0), st.floats(1e-3, 0.3))
    arrivals = arrivals if arrivals is not None else st.one_of(st.just(0.0), st.floats(0.0, 3.0), st.floats(0.0, 0.2))
    times = sorted(draw(st.lists(arrivals, min_size=2, max_size=6)))
    programs = []
    for number, time_s in enumerate(times):
        prefix = draw(
            st.one_of(st.none(), st.builds(SharedPrefix, st.sampled_from(["system", "other"]), st.integers(1, 30)))
        )
        made = draw(turns(gaps, prefix.tokens if prefix else 0))
        programs.append(Program(f"p{number}", made, time_s, prefix))
    return programs


@st.composite
def engines(draw: st.DrawFn, programs: list[Program]) -> EngineConfig:
    """An engine that the largest program fits into exactly, or with room to spare."""
    block_size = draw(st.sampled_from([1, 2, 4, 7, 16]))
    longest = max(program.max_context_tokens for program in programs)
    least = max(1, -(-(longest - 1) // block_size))
    spare = draw(st.one_of(st.integers(0, least), st.just(0), st.integers(0, 6 * least)))
    budget = draw(st.one_of(st.integers(16, 300), st.integers(1, 16)))
    return EngineConfig(
        num_gpu_blocks=least + spare + 1,
        block_size=block_size,
        max_num_batched_tokens=budget,
        max_num_seqs=draw(st.one_of(st.just(min(budget, 8)), st.integers(1, min(budget, 8)))),
        max_model_len=max(longest, 2),
        watermark=draw(st.sampled_from([0.0, 0.0, 0.05, 0.2])),
        scheduler_reserve_full_isl=draw(st.integers(0, 3)) > 0,
    )


@st.composite
def cases(
    draw: st.DrawFn,
    gaps: st.SearchStrategy[float] | None = None,
    arrivals: st.SearchStrategy[float] | None = None,
) -> tuple[list[Program], EngineConfig]:
    """A trace and an engine that can serve it."""
    programs = draw(traces(gaps, arrivals))
    return programs, draw(engines(programs))
