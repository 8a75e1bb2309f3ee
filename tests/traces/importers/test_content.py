"""No text by agents or people gets into a trace: only counts, seconds, and names of jobs and tools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import TraceError, import_trace
from support.logs import SAMPLES, word_tokenizer

MARK = "zq7secret"
A_NAME = re.compile(r"(?i)(name|id|models?|version|types?|function|tool)$")
"""Fields that hold names of jobs, tools and models, which a trace does contain."""


def marked(value: Any, key: str, at: str = "") -> Any:
    """Return JSON with a secret word appended to every string in the fields of that name."""
    if isinstance(value, dict):
        return {name: marked(item, key, field_of(value, name, at)) for name, item in value.items()}
    if isinstance(value, list):
        return [marked(item, key, at) for item in value]
    return f"{value} {MARK} {MARK}" if isinstance(value, str) and at == key else value


def keys_of_text(value: Any, at: str = "") -> set[str]:
    if isinstance(value, dict):
        return {key for name, item in value.items() for key in keys_of_text(item, field_of(value, name, at))}
    if isinstance(value, list):
        return {key for item in value for key in keys_of_text(item, at)}
    return {at} if isinstance(value, str) else set()


def field_of(record: dict[str, Any], name: str, at: str) -> str:
    """Return a field's name; for OpenTelemetry's attributes, the key beside the value."""
    if name == "value" and isinstance(record.get("key"), str):
        return str(record["key"])
    return at if name == "stringValue" else name


def as_values(content: bytes) -> list[Any]:
    """Return the JSON values of a sample; none if it is not JSON."""
    try:
        return [json.loads(content)]
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError:
        return []


@pytest.mark.parametrize("name", SAMPLES)
def test_no_word_of_the_content_is_kept(tmp_path: Path, name: str) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    file, sample = SAMPLES[name]
    out, tokenizer = tmp_path / "out.jsonl", word_tokenizer(tmp_path)
    values = as_values(sample)
    kept = set()
    for key in sorted({key for value in values for key in keys_of_text(value)}):
        text = "\n".join(json.dumps(marked(value, key)) for value in values)
        (tmp_path / file).write_text(text)
        out.unlink(missing_ok=True)
        for given in (None, tokenizer):
            try:
                import_trace([tmp_path / file], out, format=name, tokenizer=given, skip_bad=True)
            except TraceError:
                continue
            if MARK in out.read_text():
                kept.add(key)
    assert not [key for key in kept if not A_NAME.search(key)]
