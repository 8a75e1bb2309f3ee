"""The columns of a run's three tables, and functions that turn records into batches of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS: Final = 50_000
"""Records held as Python objects before they become columns. It sets the row groups of the files too, so it must stay
constant: the same run must give the same bytes."""

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "programs": {
        "program": "string",
        "turns": "int32",
        "arrival_s": "float64",
        "finish_s": "float64",
        "jct_s": "float64",
        "queue_s": "float64",
        "prefill_s": "float64",
        "decode_s": "float64",
        "tool_s": "float64",
        "tool_wait_s": "float64",
        "join_s": "float64",
        "parent": "string",
        "reload_s": "float64",
        "preempted_s": "float64",
        "alone_s": "float64",
        "retry_s": "float64",
        "given_up": "bool",
    },
    "turns": {
        "program": "string",
        "turn": "int32",
        "arrival_s": "float64",
        "scheduled_s": "float64",
        "first_token_s": "float64",
        "finish_s": "float64",
        "prompt_tokens": "int64",
        "output_tokens": "int64",
        "cached_tokens": "int64",
        "computed_tokens": "int64",
        "recomputed_tokens": "int64",
        "preemptions": "int32",
        "tool": "string",
        "tool_s": "float64",
        "replica": "int32",
        "reloaded_tokens": "int64",
        "reload_s": "float64",
        "preempted_s": "float64",
        "requests": "int32",
        "retry_s": "float64",
        "aborted": "bool",
    },
    "timeline": {
        "start_s": "float64",
        "end_s": "float64",
        "steps": "int64",
        "running": "int32",
        "waiting": "float64",
        "prefill_tokens": "int64",
        "decode_requests": "int32",
        "free_blocks": "int64",
        "cached_blocks": "int64",
        "pinned_blocks": "int64",
        "replica": "int32",
    },
}
"""Table -> column -> Arrow type. The columns are the fields of the records, in the same order."""

CLUSTER_COLUMNS: Final = frozenset({"replica"})
"""Columns that only runs with several replicas have."""

Columns = Mapping[str, Sequence[Any]]
"""Records of a table, column by column."""
Sink = Callable[["pa.RecordBatch"], Any]
"""Receives batches of a table: a list's `append`, a file's `write_batch`."""


def schema(table: str, *, cluster: bool = False) -> pa.Schema:
    """Return the Arrow schema of a table."""
    import pyarrow as pa

    kept = [item for item in COLUMNS[table].items() if cluster or item[0] not in CLUSTER_COLUMNS]
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in kept])


def columns_of(table: str, records: Sequence[tuple[Any, ...]]) -> Columns:
    """Turn records into columns."""
    columns = zip(*records, strict=True) if records else [()] * len(COLUMNS[table])
    return dict(zip(COLUMNS[table], columns, strict=True))


def record_batch(table: str, records: Sequence[tuple[Any, ...]], *, cluster: bool = False) -> pa.RecordBatch:
    """Turn records into an Arrow record batch."""
    return column_batch(table, columns_of(table, records), cluster=cluster)


def column_batch(table: str, columns: Columns, *, cluster: bool = False) -> pa.RecordBatch:
    """Turn columns into an Arrow record batch."""
    import pyarrow as pa

    layout = schema(table, cluster=cluster)
    arrays = [pa.array(columns[field.name], field.type) for field in layout]
    return pa.RecordBatch.from_arrays(arrays, schema=layout)
