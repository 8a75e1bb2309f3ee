"""A small log in every format that can be imported, and a tokenizer for formats with text."""

from __future__ import annotations

import json
from pathlib import Path

from support.agent_logs import bfcl, claude_code, mini_swe_agent, openhands, swe_agent, tracelab
from support.request_logs import aiperf, mooncake, openai_log, otel, vllm_log, weka
from support.request_tables import aiperf_records, azure, bailian, burstgpt, litellm_spend, lmcache
from support.session_logs import atif, codex, gemini_cli, inspect_ai, opencode, otel_logs, pi

SAMPLES = {
    "mini-swe-agent": ("a.traj.json", mini_swe_agent()),
    "mini-swe-agent-v1": ("a.traj.json", mini_swe_agent("1.15.0", times=False)),
    "swe-agent": ("a.traj", swe_agent()),
    "openhands": ("output.jsonl", openhands()),
    "claude-code": ("s-1.jsonl", claude_code()),
    "codex": ("rollout-1.jsonl", codex()),
    "otel-logs": ("logs.jsonl", otel_logs()),
    "atif": ("trajectory.json", atif()),
    "inspect-ai": ("log.json", inspect_ai()),
    "gemini-cli": ("session-1.jsonl", gemini_cli()),
    "opencode": ("ses_1.json", opencode()),
    "pi": ("1.jsonl", pi()),
    "weka": ("trace_0001.json", weka()),
    "mooncake": ("m.jsonl", mooncake()),
    "aiperf": ("c.jsonl", aiperf()),
    "bfcl": ("BFCL_v4_multi_turn_base_result.json", bfcl()),
    "tracelab": ("rounds.jsonl", tracelab()),
    "otel": ("spans.jsonl", otel()),
    "openai-log": ("calls.jsonl", openai_log()),
    "vllm-log": ("server.log", vllm_log()),
    "bailian": ("qwen.jsonl", bailian()),
    "litellm-spend": ("spend.json", litellm_spend()),
    "azure-llm": ("azure.csv", azure()),
    "burstgpt": ("burst.csv", burstgpt()),
    "lmcache": ("trace.jsonl", lmcache()),
    "aiperf-records": ("profile_export.jsonl", aiperf_records()),
}
"""Format to (file name, content)."""

NEED_TOKENIZER = ("swe-agent", "aiperf", "lmcache")


def word_tokenizer(folder: Path) -> Path:
    """Write a tokenizer that makes every word a token, and return its file."""
    path = folder / "tokenizer.json"
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": {"type": "WhitespaceSplit"},
                "post_processor": None,
                "decoder": None,
                "model": {"type": "WordLevel", "vocab": _vocabulary(), "unk_token": "?"},
            }
        )
    )
    return path


def _vocabulary() -> dict[str, int]:
    words = (
        "? system user assistant tool You are an agent . fix the bug look at it a b c d done you terse what is and why"
    )
    return {word: number for number, word in enumerate(dict.fromkeys(words.split()))}
