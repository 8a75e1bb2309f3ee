"""Estimates of KV memory are near what engines logged, and docs/kv-logs.csv has all of them."""

from __future__ import annotations

from pathlib import Path

from oracles.engine_logs import GIB, LOGS, TABLE, estimates, model_of, parallel_of, table

PAGE = Path(__file__).parents[2] / "docs/step-time.md"
OUTSIDE = {
    "Llama-3.1-8B, RTX 4090",
    "DeepSeek-V2-Lite AWQ, RTX 4080",
    "Qwen3-235B-A22B FP8, 4 x H100, TP 4",
    "DeepSeek-V4-Flash, 8 x B200, TP 8, EP",
    "DeepSeek-V4-Flash, 8 x B200, DP 8, EP",
}
"""The page says why, as far as their logs do."""


def test_estimates_are_near_what_vllm_logged() -> None:
    assert len(LOGS) == 14
    assert {each.name for each in estimates() if abs(each.error) > 0.03} == OUTSIDE


def test_weights_are_what_vllm_loaded() -> None:
    """Within 1 %, or what loading leaves in the allocator of a small GPU."""
    for log in LOGS:
        if "weights_gib" in log:
            weights = model_of(log).weight_bytes_per_rank(parallel_of(log)) / GIB
            assert 0 <= log["weights_gib"] - weights < 0.2, log["name"]


def test_the_table_and_the_page_show_all_of_them() -> None:
    assert table() == TABLE.read_text("utf-8"), "python tests/oracles/engine_logs.py writes the table"
    for each in estimates():
        if each.name in OUTSIDE:
            assert f"{100 * each.error:+.1f}".replace("-", "−") in PAGE.read_text("utf-8"), each.name
