"""The recorder: totals, tables and batches, whatever their size."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.results import tables
from continuum_sim.results.recorder import Progress, RunRecorder
from continuum_sim.results.summary import Measured
from continuum_sim.steady.length import Cut, RunLength
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord

times = st.floats(0, 1e9, allow_nan=False)
counts = st.integers(0, 2**40)


@st.composite
def turn_records(draw: st.DrawFn) -> TurnRecord:
    arrival_s, scheduled_s, first_s, finish_s = sorted(draw(times) for _ in range(4))
    output = draw(st.integers(1, 1000))
    return TurnRecord(
        draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)),
        draw(st.integers(0, 1000)),
        arrival_s,
        scheduled_s,
        first_s,
        finish_s,
        draw(counts),
        output,
        draw(counts),
        output - 1 + draw(counts),
        draw(counts),
        draw(st.integers(0, 5)),
        draw(st.sampled_from(["ls", "cat", None])),
        draw(times),
    )


@settings(deadline=None)  # the first example imports pyarrow
@given(st.lists(turn_records(), min_size=1, max_size=20))
def test_every_turn_arrives_in_the_table_in_order_and_unchanged(records: list[TurnRecord]) -> None:
    batches: list[pa.RecordBatch] = []
    recorder = RunRecorder({"turns": [batches.append]}, batch_rows=3)
    for record in records:
        recorder.turn(record)
    recorder.close()
    assert [len(batch) for batch in batches] == [3] * (len(records) // 3) + [len(records) % 3] * (len(records) % 3 > 0)
    rows = pa.Table.from_batches(batches).to_pylist()
    assert [TurnRecord(**row) for row in rows] == records


@given(st.lists(turn_records(), min_size=1, max_size=20))
def test_totals_and_percentiles_are_those_of_the_whole_sample(records: list[TurnRecord]) -> None:
    recorder = RunRecorder(batch_rows=3)
    for record in records:
        recorder.turn(record)
    recorder.close()
    tally = recorder.tally
    assert tally.turns == len(records)
    assert tally.output_tokens == sum(r.output_tokens for r in records)
    assert tally.preemptions == sum(r.preemptions for r in records)
    assert tally.prefill.cached_tokens == sum(r.cached_tokens for r in records)
    assert tally.prefill.recomputed_tokens == sum(r.recomputed_tokens for r in records)
    assert tally.prefill.computed_tokens == sum(r.computed_tokens - r.output_tokens + 1 for r in records)
    for quantiles, values in (
        (tally.queue_wait_s, [r.scheduled_s - r.arrival_s for r in records]),
        (tally.ttft_s, [r.first_token_s - r.arrival_s for r in records]),
    ):
        assert quantiles.mean == pytest.approx(np.mean(values))
        assert quantiles.max == max(values)
        for percent in (50, 90, 95, 99):
            assert getattr(quantiles, f"p{percent}") == np.percentile(values, percent)


def test_the_split_of_a_programs_time_is_averaged_and_shared_out() -> None:
    recorder = RunRecorder()
    recorder.program(ProgramRecord("a", 1, 2.0, 12.0, 10.0, 1.0, 2.0, 3.0, 4.0))
    recorder.program(ProgramRecord("b", 1, 5.0, 15.0, 10.0, 3.0, 2.0, 5.0, 0.0))
    recorder.close()
    split, share = recorder.tally.time_s, recorder.tally.time_share
    assert (split.queue, split.prefill, split.decode, split.tool) == (2.0, 2.0, 4.0, 2.0)
    assert (share.queue, share.prefill, share.decode, share.tool) == (0.2, 0.2, 0.4, 0.2)
    assert recorder.tally.last_arrival_s == 5.0
    assert recorder.tally.jct_s.mean == 10.0


def test_only_the_programs_that_count_are_averaged_and_turns_between_them() -> None:
    recorder = RunRecorder(length=RunLength(warmup=Cut(1), cooldown=Cut(1)))
    for place, arrival_s in enumerate((0.0, 1.0, 2.0, 3.0)):
        recorder.turn(TurnRecord(f"p{place}", 0, arrival_s, arrival_s + place, 9.0, 9.0, 5, 1, 0, 5, 0, 0, None, 0.0))
        jct_s = 9.0 - arrival_s
        recorder.program(ProgramRecord(f"p{place}", 1, arrival_s, 9.0, jct_s, place, jct_s - place, 0.0, 0.0))
    recorder.close()
    tally = recorder.tally
    assert tally.select() == Measured(2, 2, 1.0, 2.0)
    assert (tally.jct_s.mean, tally.queue_wait_s.mean, tally.ttft_s.mean) == (7.5, 1.5, 7.5)
    assert (tally.time_s.queue, tally.time_s.prefill) == (1.5, 6.0)
    assert (tally.programs, tally.fresh_tokens, tally.last_arrival_s) == (4, 20, 3.0)


def test_the_work_of_sub_agents_is_their_programs_own() -> None:
    recorder = RunRecorder()
    recorder.turn(TurnRecord("child", 0, 5.0, 5.0, 6.0, 6.0, 5, 1, 0, 30, 10, 0, None, 0.0))
    recorder.program(ProgramRecord("child", 1, 5.0, 6.0, 1.0, 0.0, 1.0, 0.0, 0.0, parent="root"))
    recorder.turn(TurnRecord("root", 0, 0.0, 0.0, 10.0, 10.0, 5, 1, 0, 7, 0, 0, None, 0.0))
    recorder.program(ProgramRecord("root", 1, 0.0, 10.0, 10.0, 0.0, 10.0, 0.0, 0.0))
    recorder.close()
    assert recorder.tally.fresh_tokens == 27
    # 27 tokens from 0 on; 20 of them are done at 6 and 7 at 10.
    assert recorder.tally.backlog.means(10.0, 5) == pytest.approx([27, 27, 27, 7, 7])


def test_counts_beyond_64_bits_do_not_wrap() -> None:
    recorder = RunRecorder()
    huge = 2**62
    for _ in range(4):
        recorder.turn(TurnRecord("a", 0, 0.0, 0.0, 0.0, 0.0, huge, 1, huge, huge, huge, 0, None, 0.0))
    recorder.close()
    assert recorder.tally.prefill.cached_tokens == 4 * huge


def test_columns_are_the_fields_of_the_records() -> None:
    for table, record in (("programs", ProgramRecord), ("turns", TurnRecord), ("timeline", TimelineRecord)):
        assert tuple(tables.COLUMNS[table]) == record._fields  # type: ignore[attr-defined]


def test_progress_is_told_of_every_program_and_every_thousand_turns() -> None:
    told: list[Progress] = []
    recorder = RunRecorder(progress=told.append)
    for index in range(2048):
        recorder.turn(TurnRecord("a", index, 0.0, 0.0, 0.0, float(index), 1, 1, 0, 1, 0, 0, None, 0.0))
    recorder.program(ProgramRecord("a", 2048, 0.0, 2047.0, 2047.0, 0.0, 0.0, 0.0, 0.0))
    assert told == [Progress(0, 1024, 1023.0), Progress(0, 2048, 2047.0), Progress(1, 2048, 2047.0)]
