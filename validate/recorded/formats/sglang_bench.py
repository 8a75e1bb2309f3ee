"""The result of SGLang's own benchmark: `python -m sglang.bench_serving --output-file FILE --output-details`.

Field meanings: github.com/sgl-project/sglang, `python/sglang/benchmark/metrics.py` (`save_results`) and
`docs/developer_guide/bench_serving.md`. It does not write when requests were sent, so that only those sent all at once,
or each when another was answered, can be sent again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.client import client_log, closed_loop, seen_request, sent_in_turn
from continuum_sim.validate.recorded.fields import Fields, numbered_lines, parse_object, read_bytes
from continuum_sim.validate.recorded.format import RecordedFormat
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest, later

_ARRAYS: Final = ("input_lens", "output_lens", "ttfts", "itls")


def read_sglang_bench(path: Path) -> RecordedLog:
    """Read the one result of a file.

    Raises
    ------
    TraceError
        If there are several results, or requests were sent at some rate; or naming the field and its place, if a
        value is missing, of a wrong type, or impossible.
    """
    lines = numbered_lines(read_bytes(path))
    if len(lines) != 1:
        raise TraceError(
            f"holds {len(lines)} results, one a line; put the one to compare into a file of its own", path=path
        )
    number, line = lines[0]
    fields = Fields(parse_object(line, path, number), path, number)
    if "input_lens" not in fields:
        raise TraceError(
            "input_lens is missing, expected one entry a request; save it with --output-details", path=path
        )
    count = len(fields.array("input_lens"))
    for name in _ARRAYS:
        fields.array(name, count)
    rate = fields.values.get("request_rate")
    if rate != math.inf:
        raise TraceError(
            "does not say when requests were sent (SGLang does not write it), which only --request-rate inf tells",
            path=path,
        )
    workers = fields.tokens("max_concurrency") if "max_concurrency" in fields else None
    failed = [fields.values["output_lens"][index] == 0 for index in range(count)]
    notes = ["arrivals: all at once, as --request-rate inf sends them" if workers is None else closed_loop(workers)]
    if (length := fields.values.get("accept_length")) is not None:
        notes.append(f"recorded with speculative decoding ({length:g} tokens a step), simulated without")
    kept = [_request(fields, index) for index in range(count) if not failed[index]]
    if workers is not None:
        sent_s = sent_in_turn((one.last_token_s for one in kept), workers)
        kept = [later(one, by_s) for one, by_s in zip(kept, sent_s, strict=True)]
    return client_log(
        path,
        SGLANG_BENCH.name,
        kept,
        failed=sum(failed),
        max_concurrency=workers,
        notes=notes,
    )


def _request(fields: Fields, index: int) -> RecordedRequest:
    ttft_s = fields.seconds_at("ttfts", index)
    gaps = Fields({f"itls[{index}]": fields.values["itls"][index]}, fields.path, fields.line)
    name = f"itls[{index}]"
    total_s = sum(gaps.seconds_at(name, at) for at in range(len(gaps.array(name))))
    names = (f"input_lens[{index}]", f"output_lens[{index}]")
    shown = {
        names[0]: fields.values["input_lens"][index],
        names[1]: fields.values["output_lens"][index],
        f"ttfts[{index}]": ttft_s,
        name: total_s,
    }
    own = Fields(shown, fields.path, fields.line)
    return seen_request(own, f"request-{index}", names, (0.0, ttft_s, ttft_s + total_s), (f"ttfts[{index}]", name))


SGLANG_BENCH: Final = RecordedFormat(
    "sglang-bench",
    frozenset({"dataset_name", "sharegpt_output_len", "random_input_len", "random_output_len", "random_range_ratio"}),
    read_sglang_bench,
)
