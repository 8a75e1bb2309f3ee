"""A retention rule that chooses what vLLM's native offload evicts, on vLLM's own connector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.vllm_bench import BLOCK, Bench, tokens

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def _needs_vllm() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")


def held(bench: Bench) -> dict[str, int]:
    """Return the blocks in host memory by program."""
    policy = bench.vllm.connector.connector_scheduler.manager._policy
    owners = list(policy._owners.values())
    return {owner: owners.count(owner) for owner in sorted(set(owners))}


def serve(bench: Bench, name: str, number: int, **extra: Any) -> list[int]:
    """Serve a turn of 4 blocks to its end, and let the connector hear of it."""
    prompt = tokens(number, 4 * BLOCK)
    bench.add(f"{name}{number}", prompt, 2, program_id=name, **extra)
    bench.run()
    bench.step()
    return prompt


def test_the_rule_chooses_whose_context_goes(tmp_path: Path) -> None:
    bench = Bench(
        "ttl-static:ttl=50,pressure=head", tmp_path, host_blocks=8
    )  # under pressure the latest program yields
    for number, name in enumerate("abc"):
        serve(bench, name, number)
    assert held(bench) == {"a": 4, "c": 4}


def test_a_rule_that_chooses_nobody_leaves_it_to_the_least_recent_use(tmp_path: Path) -> None:
    bench = Bench("lru", tmp_path, host_blocks=8)
    for number, name in enumerate("abc"):
        serve(bench, name, number)
    assert held(bench) == {"b": 4, "c": 4}


def test_programs_that_have_ended_go_first_and_each_loses_its_tail(tmp_path: Path) -> None:
    bench = Bench("ttl-static:ttl=50,pressure=head", tmp_path, host_blocks=10)
    serve(bench, "a", 0)
    serve(bench, "b", 1, last_turn=True)
    serve(bench, "c", 2)
    assert held(bench) == {"a": 4, "b": 2, "c": 4}


def test_what_stays_is_loaded_when_its_program_returns(tmp_path: Path) -> None:
    bench = Bench("ttl-static:ttl=0,pressure=head", tmp_path, host_blocks=8, num_gpu_blocks=10)
    prompt = serve(bench, "a", 0)
    for number, name in enumerate("bc", 1):
        serve(bench, name, number)
    assert held(bench) == {"a": 4, "c": 4}
    bench.add("a1", prompt + tokens(9, BLOCK), 2, program_id="a")
    bench.run()
    assert bench.vllm.connector.connector_scheduler._job_counter > 4  # stores of a, b and c, and the load
    assert held(bench)["a"] >= 4
