"""Estimates of KV memory are near what engines logged, and docs/step-time.md shows all of them."""

from __future__ import annotations

from pathlib import Path

from oracles.engine_logs import GIB, LOGS, estimates, model_of, parallel_of, table

PAGE = Path(__file__).parents[2] / "docs/step-time.md"
OUTSIDE = {"Llama-3.1-8B, RTX 4090", "DeepSeek-V2-Lite AWQ, RTX 4080"}
"""The page says why, as far as their logs do."""


def test_estimates_are_near_what_vllm_logged() -> None:
    assert len(LOGS) == 10
    assert {each.name for each in estimates() if abs(each.error) > 0.03} == OUTSIDE


def test_weights_are_what_vllm_loaded() -> None:
    """Within 1 %, or what loading leaves in the allocator of a small GPU."""
    for log in LOGS:
        if "weights_gib" in log:
            weights = model_of(log).weight_bytes_per_rank(parallel_of(log)) / GIB
            assert 0 <= log["weights_gib"] - weights < 0.2, log["name"]


def test_the_page_shows_all_of_them() -> None:
    assert table() in PAGE.read_text("utf-8"), "python tests/oracles/engine_logs.py prints the table"
