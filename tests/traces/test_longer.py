"""Traces with longer contexts: counts are multiplied, all else stays the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.traces import (
    Program,
    SharedPrefix,
    Turn,
    check_program,
    find_fit,
    find_trace,
    generate_programs,
    read_programs,
    write_programs,
)
from continuum_sim.traces.generate.longer import BFCL_FACTOR, LONGEST_TOKENS, SWEBENCH_FACTOR, longer

PROGRAM = Program(
    "p",
    (
        Turn(100, 0, 10, "ls", 1.5),
        Turn(150, 110, 7, "cat", 0.5),  # keeps everything
        Turn(160, 120, 5),  # drops 37 tokens
    ),
    arrival_s=3.0,
    shared_prefix=SharedPrefix("system", 40),
)


def test_counts_are_multiplied_and_the_rest_stays() -> None:
    (made,) = longer([PROGRAM], 3.0)
    assert made.turns == (
        Turn(300, 0, 30, "ls", 1.5),
        Turn(450, 330, 21, "cat", 0.5),
        Turn(480, 360, 15),
    )
    assert (made.program_id, made.arrival_s, made.shared_prefix) == ("p", 3.0, SharedPrefix("system", 120))


@given(st.floats(0.01, 50.0))
def test_any_factor_gives_a_program_that_obeys_the_rules(factor: float) -> None:
    (made,) = longer([PROGRAM], factor, None)
    check_program(made)
    # Rounded separately, the parts would not add up: what was kept whole stays whole.
    assert made.turns[1].kept_tokens == min(made.turns[0].context_tokens, made.turns[1].input_tokens)


def test_what_grows_too_long_is_left_out() -> None:
    assert list(longer([PROGRAM], 3.0, 495)) != []
    assert list(longer([PROGRAM], 3.0, 494)) == []
    with pytest.raises(ValueError, match="factor is 0"):
        list(longer([PROGRAM], 0))


@pytest.mark.parametrize(
    ("name", "factor", "published"), [("swebench", SWEBENCH_FACTOR, 70_126), ("bfcl", BFCL_FACTOR, 0.4 * 93_256)]
)
def test_the_bundled_files_are_what_it_makes_and_as_long_as_published(
    name: str, factor: float, published: float, tmp_path: Path
) -> None:
    write_programs(tmp_path / "made.jsonl", longer(read_programs(find_trace(name)), factor))
    bundled = find_trace(f"{name}-long")
    assert (tmp_path / "made.jsonl").read_bytes() == bundled.read_bytes()
    programs = list(read_programs(bundled))
    assert sum(p.turns[-1].context_tokens for p in programs) / len(programs) == pytest.approx(published, rel=0.03)
    assert max(p.max_context_tokens for p in programs) <= LONGEST_TOKENS
    assert all(a.context_tokens >= b.kept_tokens for p in programs for a, b in pairwise(p.turns))


def test_the_bundled_openhands_programs_are_drawn_from_the_profile(tmp_path: Path) -> None:
    drawn = generate_programs(find_fit("openhands"), 100, np.random.default_rng(9))
    write_programs(tmp_path / "made.jsonl", longer(drawn, SWEBENCH_FACTOR))
    assert (tmp_path / "made.jsonl").read_bytes() == find_trace("openhands-long").read_bytes()
