"""Requests without a session: which become one program, and how much of their reuse is preserved."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, SharedPrefix, TraceError, Turn, import_trace, read_programs
from continuum_sim.traces.importers import chain_rows, prefix_chains
from support.agent_logs import lines
from support.programs import engine
from support.request_tables import bailian
from support.runs import simulate
from support.steptimes import constant

Imported = Callable[..., list[Program]]
CASES = Path(__file__).parents[4] / "shared" / "cases"


def row(at_ms: int, ids: list[int], *, tokens: int | None = None, output: int = 5, size: int = 16) -> dict[str, Any]:
    tokens = size * len(ids) if tokens is None else tokens
    return {"timestamp": at_ms, "input_length": tokens, "output_length": output, "hash_ids": ids}


def two_conversations(size: int) -> list[dict[str, Any]]:
    """Return four rows each of two conversations with the same beginning, alternating."""
    one, other = [1, 2, 11], [1, 2, 51, 52]
    rows = []
    for turn in range(4):
        rows += [row(30_000 * turn, list(one), size=size), row(30_000 * turn + 4000, list(other), size=size)]
        one += range(100 * turn + 100, 100 * turn + 106)
        other += range(100 * turn + 150, 100 * turn + 155)
    return rows


def test_prompts_that_go_on_become_programs(imported: Imported) -> None:
    one, other = imported("mooncake", lines(*two_conversations(512)))
    assert (one.program_id, other.program_id) == ("m-1", "m-2")
    assert (one.arrival_s, other.arrival_s) == (0.0, 4.0)
    assert one.shared_prefix == SharedPrefix("block-1", 1536)
    assert other.shared_prefix == SharedPrefix("block-1", 1024)
    assert one.turns[:2] == (Turn(1536, 0, 5, "delay", 30.0), Turn(4608, 1541, 5, "delay", 30.0))
    assert [turn.input_tokens for turn in other.turns] == [2048, 4608, 7168, 9728]
    assert other.turns[-1].tool_s == 0.0


def made(seed: int) -> list[dict[str, Any]]:
    """Return conversations under three system prompts, mixed with single requests that share a system prompt."""
    rng = random.Random(seed)
    fresh = iter(range(1000, 10**6))
    systems = [[next(fresh) for _ in range(n)] for n in (3, 5, 8)]
    open_: list[list[int]] = []
    rows = []
    for number in range(300):
        if open_ and rng.random() < 0.6:
            ids = open_.pop(rng.randrange(len(open_)))
            ids += [next(fresh) for _ in range(rng.randint(1, 6))]
            if rng.random() < 0.7:
                open_.append(ids)
        else:
            ids = [*rng.choice(systems), *(next(fresh) for _ in range(rng.randint(1, 8)))]
            open_.append(ids)
        rows.append(row(1000 * number, list(ids)))
    return rows


def ideal(rows: list[dict[str, Any]]) -> float:
    """Return the share of the prompts' blocks that an infinite cache of these hashes already holds."""
    seen: set[int] = set()
    hits = total = 0
    for one in rows:
        ids = one["hash_ids"]
        hits += next((n for n, hash_id in enumerate(ids) if hash_id not in seen), len(ids))
        total += len(ids)
        seen.update(ids)
    return hits / total


@pytest.mark.parametrize("seed", [1, 2])
def test_an_infinite_cache_finds_what_the_hashes_say(imported: Imported, seed: int) -> None:
    rows = made(seed)
    programs = imported("mooncake", lines(*rows), block_size=16)
    assert sum(len(program.turns) for program in programs) == len(rows)
    cache = engine(200_000, block_size=16, budget=10**6, seqs=1000, max_model_len=10**6)
    run = simulate(programs, "lru", config=cache, step_time=constant(1e-4), stepwise=False)
    found = sum(turn.cached_tokens for turn in run.turns) / sum(turn.prompt_tokens for turn in run.turns)
    assert found == pytest.approx(ideal(rows), rel=1e-9)
    assert found > 0.4


def test_requests_that_share_a_system_prompt_alone_are_not_chained(imported: Imported) -> None:
    # The third shows that the first two blocks belong to no conversation; so do later ones that end with them.
    rows = [
        row(0, [1, 2, 3], tokens=40),
        row(1000, [1, 2, 4, 5]),
        row(2000, [1, 2, 6, 7, 8]),
        row(3000, [1, 2, 9], tokens=44),
        row(4000, [1, 2, 10, 11]),
        row(5000, [1, 2, 4, 5, 12]),
    ]
    programs = imported("mooncake", lines(*rows), block_size=16)
    assert [[turn.input_tokens for turn in program.turns] for program in programs] == [
        [40],
        [64, 80],
        [80],
        [44],
        [64],
    ]
    assert {program.shared_prefix for program in programs} == {SharedPrefix("block-1", 32)}
    assert [program.program_id for program in programs] == ["m-1", "m-2", "m-3", "m-4", "m-5"]
    assert programs[1].arrival_s == 1.0


def test_prompts_that_end_with_the_same_full_blocks_are_a_common_beginning(imported: Imported) -> None:
    # [1, 2, 7] is a longer system prompt in the family of [1, 2, 3, 4]: two prompts end with it and then diverge.
    rows = [row(0, [1, 2, 3, 4]), row(1, [1, 2, 7, 8], tokens=50), row(2, [1, 2, 7, 9], tokens=50)]
    rows += [row(3, [1, 2, 7, 10, 11]), row(4, [1, 2, 7, 12], tokens=51), row(5, [1, 2, 7, 13, 14])]
    programs = imported("mooncake", lines(*rows), block_size=16)
    assert [len(program.turns) for program in programs] == [1] * 6


def test_a_common_beginning_is_found_after_a_first_prompt_went_on(imported: Imported) -> None:
    first, on = row(0, [1, 2, 3], tokens=40), row(1, [1, 2, 4, 5])
    ends_alike, goes_on = row(2, [1, 2, 6], tokens=38), row(2, [1, 2, 7, 8])
    again, on_again = row(3, [1, 2, 3], tokens=40), row(4, [1, 2, 9, 10])
    for rows in ([first, on, ends_alike], [first, on, goes_on], [first, on, goes_on, again, on_again]):
        programs = imported("mooncake", lines(*rows), block_size=16)
        assert [len(program.turns) for program in programs] == [1] * len(rows)
    assert [len(program.turns) for program in imported("mooncake", lines(first, on), block_size=16)] == [2]


def test_rows_on_one_line(imported: Imported) -> None:
    rows = [row(0, [1, 2]), row(1, [3, 4]), row(2, [1, 2, 5])]
    programs = imported("mooncake", json.dumps(rows).encode(), block_size=16)
    assert [(one.program_id, len(one.turns)) for one in programs] == [("m-1", 2), ("m-1#2", 1)]


def test_a_second_prompt_that_goes_on_is_a_program_of_its_own(imported: Imported, tmp_path: Path) -> None:
    rows = [row(0, [1, 2, 3]), row(10, [1, 2, 8, 9]), row(20, [1, 2, 8, 9, 10]), row(30, [1, 2, 8, 9, 11, 12])]
    _, first, second = imported("mooncake", lines(*rows), block_size=16)
    assert [turn.input_tokens for turn in first.turns] == [64, 80]
    assert second.turns == (Turn(96, 0, 5),)
    assert second.shared_prefix == SharedPrefix("block-1", 32)
    made = import_trace([tmp_path / "m.jsonl"], tmp_path / "o.jsonl", block_size=16)
    assert made.header.notes["requests that go on from one that another went on from, programs of their own"] == 1


def test_the_same_prompt_again_is_another_conversation(imported: Imported) -> None:
    # A task that ran twice: each run continues its own first request, the later one the later.
    rows = [row(0, [1, 2]), row(10, [1, 2, 3]), row(20, [1, 2]), row(30, [1, 2, 4]), row(40, [1, 2, 4])]
    programs = imported("mooncake", lines(*rows), block_size=16)
    assert [[turn.input_tokens for turn in program.turns] for program in programs] == [[32, 48], [32, 48], [48]]


def test_nothing_goes_on_from_a_later_request(imported: Imported) -> None:
    programs = imported("mooncake", lines(row(50, [1, 2]), row(10, [1, 2, 3])), block_size=16)
    assert [len(program.turns) for program in programs] == [1, 1]


def test_prompts_are_forgotten_at_last(imported: Imported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_chains, "MOST_OPEN", 2)
    rows = [row(0, [1, 2]), row(10, [3, 4]), row(20, [5, 6]), row(30, [1, 2, 7]), row(40, [5, 6, 8])]
    programs = imported("mooncake", lines(*rows), block_size=16)
    assert [[turn.input_tokens for turn in program.turns] for program in programs] == [[32], [32], [32, 48], [48]]


def test_rows_come_back_chain_by_chain_however_few_fit_into_memory(
    imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = imported("mooncake", lines(*made(1)), block_size=16)
    monkeypatch.setattr(chain_rows, "MOST_ROWS", 7)
    monkeypatch.setattr(chain_rows, "READ_ROWS", 10)
    assert imported("mooncake", lines(*made(1)), block_size=16) == whole


def test_hashes_of_64_bits_without_a_sign(imported: Imported) -> None:
    rows = [row(0, [2**64 - 2, 1]), row(10, [2**64 - 2, 1, -(2**63)])]
    (program,) = imported("mooncake", lines(*rows), block_size=16)
    assert [turn.input_tokens for turn in program.turns] == [32, 48]
    with pytest.raises(TraceError, match="hash_ids is 18446744073709551616, expected an array of integers of 64 bits"):
        imported("mooncake", lines(row(0, [1, 2**64])), block_size=16)


def test_bailian(imported: Imported) -> None:
    first, other = imported("bailian")
    # Three full blocks of 16 recur, so the answer counts as kept; then three of six do.
    assert first.turns == (Turn(50, 0, 14, "delay", 30.0), Turn(100, 64, 20, "delay", 60.5), Turn(60, 48, 8))
    assert (first.program_id, first.arrival_s, first.shared_prefix) == ("qwen-71", 1.5, SharedPrefix("block-3", 48))
    assert other == Program("qwen-72", (Turn(20, 0, 5),), 4.0, SharedPrefix("block-3", 16))


def test_bailian_is_not_mooncake(imported: Imported) -> None:
    with pytest.raises(TraceError, match=r"m\.jsonl:1: the row has parent_chat_id, which is Bailian's: say --from bai"):
        imported("mooncake", bailian())


def test_bailian_parents_that_are_not_there(imported: Imported, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in bailian().splitlines()]
    rows[1]["parent_chat_id"] = 5  # before the trace began
    rows.append(rows[2] | {"chat_id": 90, "timestamp": 99.0})  # 71 was continued by 75
    programs = imported("bailian", lines(*rows))
    assert [len(program.turns) for program in programs] == [3, 1, 1]
    made = import_trace([tmp_path / "qwen.jsonl"], tmp_path / "o.jsonl")
    assert made.header.notes["requests whose parent is not there, or has gone on otherwise, programs of their own"] == 2


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
def test_cases(tmp_path: Path) -> None:
    def turns(case: str) -> list[tuple[float | None, list[tuple[int, int, int, float]]]]:
        import_trace([CASES / case], tmp_path / "o.jsonl")
        return [
            (one.arrival_s, [(t.input_tokens, t.kept_tokens, t.output_tokens, t.tool_s) for t in one.turns])
            for one in read_programs(tmp_path / "o.jsonl")
        ]

    assert turns("traces/03-bailian-read-as-mooncake.jsonl") == [
        (2.5, [(40, 0, 24, 60.0), (90, 64, 16, 47.5), (130, 106, 16, 0.0)]),
        (30.0, [(30, 0, 9, 0.0)]),
    ]
    chats = turns("models/10-bailian-trace/rows.jsonl")
    assert [(arrival_s, [turn[3] for turn in one]) for arrival_s, one in chats] == [
        (10.25, [32.5, 52.25, 0.0]),
        (61.5, [0.0]),
    ]
    assert [len(one) for _, one in turns("models/02-mooncake-rows-without-session/rows.jsonl")] == [4, 4]
