"""The result file of vLLM's own benchmark: `vllm bench serve --save-result --save-detailed`.

Field meanings: vLLM 0.32, `vllm/benchmarks/serve.py` and `vllm/benchmarks/lib/endpoint_request_func.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.validate.recorded.client import closed_loop
from continuum_sim.validate.recorded.fields import Fields, numbered_lines, parse_object, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import EngineSetup, Provenance, RecordedLog, RecordedRequest, in_order

MARKS: Final = frozenset({"request_throughput", "total_input_tokens", "completed"})
"""Fields that distinguish a result of this benchmark from others."""

_MORE: Final = "save it with --save-result --save-detailed"


def read_vllm_bench(path: Path) -> RecordedLog:
    """Read a benchmark's result.

    Raises
    ------
    TraceError
        Naming the field and its place, if a value is missing, of a wrong type, or impossible.
    """
    fields = _result(path)
    if "input_lens" not in fields:
        raise TraceError(f"input_lens is missing, expected one entry a request; {_more(fields)}", path=path)
    count = len(fields.array("input_lens"))
    for name in ("output_lens", "ttfts", "itls"):
        fields.array(name, count)
    failed = _failed(fields, count)
    if count and all(failed):
        error = next((error for error in fields.values.get("errors") or () if error), "no error")
        raise TraceError(f"all {count} requests failed, the first with {shown(error)}", path=path)
    at_once = _sent_at_once(fields, count)
    latencies = "latencies" in fields
    workers = _workers(fields)
    if latencies:
        fields.array("latencies", count)
    requests = [
        _request(fields, index, at_once=at_once, latencies=latencies) for index in range(count) if not failed[index]
    ]
    return RecordedLog(
        path=path,
        format=VLLM_BENCH.name,
        requests=in_order(path, requests),
        provenance=Provenance(
            measured=(
                "input and output tokens, as the server counted them",
                "first and last token: as the client received them, with HTTP, tokenising and detokenising",
                *(() if at_once else ("arrivals: when the client sent the request",)),
            ),
            derived=(
                *(("arrivals: all at once, as --request-rate inf sends them",) if at_once else ()),
                *(() if latencies else ("last token: first token plus the inter-token latencies",)),
                "end to end, TTFT, TPOT: from the above",
            ),
            missing=(
                "queue wait",
                "engine settings",
                "prompts: none is taken to share a prefix with another",
            ),
        ),
        setup=EngineSetup(source=path, model=fields.text("model_id") if "model_id" in fields else None),
        max_concurrency=workers,
        notes=tuple(_notes(fields, sum(failed), count, workers)),
    )


def _result(path: Path) -> Fields:
    data = read_bytes(path)
    lines = numbered_lines(data)
    if len(lines) > 1 and lines[0][1].strip().endswith(b"}"):
        raise TraceError(
            f"holds {len(lines)} results, one a line (--append-result); put the one to compare into a file of its own",
            path=path,
        )
    return Fields(parse_object(data.removeprefix(b"\xef\xbb\xbf"), path), path)


def _more(fields: Fields) -> str:
    if "input_throughput" in fields or "total_input_sequences" in fields:
        return "this is a benchmark of embeddings, which generate nothing"
    return _MORE


def _failed(fields: Fields, count: int) -> list[bool]:
    """Return which requests failed: vLLM writes an error and counts no output for them."""
    errors = fields.array("errors", count) if "errors" in fields else [""] * count
    return [bool(error) or fields.values["output_lens"][index] == 0 for index, error in enumerate(errors)]


def _sent_at_once(fields: Fields, count: int) -> bool:
    """Return True if arrivals follow from the settings, because an older version did not write them."""
    if "start_times" in fields:
        fields.array("start_times", count)
        return False
    if fields.values.get("request_rate") == "inf" and "max_concurrency" not in fields:
        return True
    raise TraceError(
        "start_times is missing, so nobody knows when requests were sent; benchmark with a newer vLLM, or with "
        "--request-rate inf and no --max-concurrency",
        path=fields.path,
    )


def _request(fields: Fields, index: int, *, at_once: bool, latencies: bool) -> RecordedRequest:
    output_tokens = fields.tokens_at("output_lens", index)
    ttft_s = fields.seconds_at("ttfts", index)
    if ttft_s <= 0:
        fields.refuse(f"ttfts[{index}]", ttft_s, "above 0: benchmark an endpoint that streams")
    end_s = fields.seconds_at("latencies", index) if latencies else ttft_s + _between_tokens(fields, index)
    if end_s < ttft_s or (output_tokens > 1 and end_s == ttft_s):
        name = "latencies" if latencies else "itls"
        fields.refuse(f"{name}[{index}]", end_s, f"a last token after the first ({ttft_s:g} s)")
    start_s = 0.0 if at_once else fields.seconds_at("start_times", index)
    return RecordedRequest(
        request_id=f"request-{index}",
        arrival_s=start_s,
        input_tokens=fields.tokens_at("input_lens", index),
        output_tokens=output_tokens,
        first_token_s=start_s + ttft_s,
        last_token_s=start_s + end_s,
    )


def _between_tokens(fields: Fields, index: int) -> float:
    """Return the sum of one request's inter-token latencies, in seconds."""
    place = f"itls[{index}]"
    own = Fields({place: fields.values["itls"][index]}, fields.path)
    total_s = 0.0
    for at in range(len(own.array(place))):
        if (gap_s := own.seconds_at(place, at)) < 0:
            own.refuse(f"{place}[{at}]", gap_s, "zero or more seconds")
        total_s += gap_s
    return total_s


def _workers(fields: Fields) -> int | None:
    """Return how many requests the client kept under way, if nothing but answers held the next one back."""
    if "max_concurrency" not in fields or fields.values.get("request_rate") != "inf":
        return None
    return fields.tokens("max_concurrency")


def _notes(fields: Fields, failed: int, count: int, workers: int | None) -> list[str]:
    notes = []
    if failed:
        notes.append(f"{failed} of {count} requests failed and are left out; what the engine did for them is unknown")
    if workers is not None:
        notes.append(closed_loop(workers))
    elif "max_concurrency" in fields:
        notes.append(
            f"recorded with at most {fields.values['max_concurrency']} requests under way: the client held some back, "
            "and the simulation sends them when it did"
        )
    if any(name.startswith("spec_decode_") for name in fields.values):
        notes.append("recorded with speculative decoding, simulated without")
    return notes


VLLM_BENCH: Final = RecordedFormat("vllm-bench", MARKS, read_vllm_bench)
