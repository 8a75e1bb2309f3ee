"""Malformed inputs of every kind, made from small valid ones; the same seed and number give the same input."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from support.logs import NEED_TOKENIZER, SAMPLES
from support.recorded_logs import bench_result, requests, simulated_rows, write_lines

Rng = random.Random


@dataclass(frozen=True)
class Malformed:
    """One input: files in a folder, and the command that reads them."""

    kind: str
    arguments: list[str]
    at_fault: str | None
    """Part of the path that an error must name, if a file is at fault."""


# Values that no field expects ---------------------------------------------------------------------------------------

_RAW = {
    "@huge": "9" * 400,
    "@digits": "9" * 5000,
    "@deep": "[" * 100_000 + "]" * 100_000,
    "@below": '{"a":' * 300 + "1" + "}" * 300,
    "@nan": "NaN",
    "@inf": "-Infinity",
    "@1e999": "1e999",
    "@open": "[1, 2",
    "@bare": "yes",
    "@control": '"\x01"',
    "@surrogate": '"\\ud800"',
}
"""Values that JSON's encoder cannot write, by the text that represents them."""

ODD: tuple[Any, ...] = (
    *(None, True, False, "", "x", "nan", "-1", "9" * 400, "\u202e\x1b[31m", "../../etc/passwd", "evil:X", "a" * 10_000),
    *(0, -1, 1, 2, 0.5, -0.0, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30, 1e300, -1e300, 1e-300, 1e12),
    *([], {}, [[]], [{}], [None], {"": {}}, {"a": 1}, [1, "a", None], [0] * 1000),
    *_RAW,
)

_TOML = (
    *("5", "-1", "0", "0.5", "1e300", "1e-300", "inf", "nan", "-inf", "true", '""', '"x"', '"none"', '"evil:X"'),
    *("[]", "[[]]", "[1]", '["lru"]', '[["lru"]]', "{}", "{a = 1}", "1979-05-27", "07:32:00", "9" * 400, "9" * 5000),
    *("0x" + "f" * 400, "[" * 5000 + "]" * 5000, "[" * 200 + "]" * 200, "'''x", "{" * 50, '"\\ud800"', "[1, 1]"),
    *('"' + "a," * 3000 + '"', '"0-1000000000000"', '"0-99999,0-99999,0-99999"', "[0.1, 0.1, 'x']"),
)

NUMBERS = (
    *("-1", "0", "1", "1e400", "nan", "inf", "-inf", "9" * 30, "9" * 400, "9" * 5000, "1e-300", "1e300", "1e18"),
    *("", "x", "1_000", "٣", "0x10", "2**3", " 5 ", "1,2", "1e", "--", "none", "true", "1.5", "0-10", "\udcff"),
)


# Mutations -----------------------------------------------------------------------------------------------------------


def damage(rng: Rng, content: bytes) -> bytes:
    """Cut off, flip, delete, duplicate or re-encode bytes."""
    data = bytearray(content)
    way = rng.randrange(11)
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 100, 1000))
    if way == 0:
        del data[at:]
    elif way == 1:
        del data[at : at + length]
    elif way == 2:
        data[at:at] = data[at : at + length]
    elif way == 3:
        data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
    elif way in (4, 5):
        for _ in range(rng.choice((1, 3, 30))):
            if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 6:
        return b"" if rng.random() < 0.3 else rng.randbytes(rng.choice((1, 40, 5000)))
    elif way == 7:
        text = content.decode("utf-8", "replace")
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")), "replace")
    elif way == 8:
        data[at:at] = rng.choice((b"\x00", b"\xff", b"\xed\xa0\x80", b"\r", b"\x1a", b"\xef\xbb\xbf"))
    elif way == 9:
        return content + content
    else:
        return rng.choice((b"[", b"{", b'"', b"[" * 100_000, b'{"a":' * 50_000, b"[" * 90 + b"]" * 90, b"null", b"0"))
    return bytes(data)


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if above:
        yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*above, key))


def spoil(rng: Rng, value: Any) -> Any:
    """Put in a wrong value, remove one, or add an unknown one."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places or rng.random() < 0.04:
            return deepcopy(rng.choice(ODD))
        # Choose the depth first, so that a few fields beside a long list are hit as often as its entries.
        depth = rng.choice(sorted({len(place) for place in places}))
        *way, last = rng.choice([place for place in places if len(place) == depth])
        holder = value
        for key in way:
            holder = holder[key]
        kind = rng.randrange(5)
        if kind == 0:
            del holder[last]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(("unknown", "", "a" * 300, str(last).upper()))] = deepcopy(rng.choice(ODD))
        elif kind == 2 and isinstance(holder, list):
            holder.insert(last, deepcopy(holder[last]))
        else:
            holder[last] = deepcopy(rng.choice(ODD))
    return value


def as_json(value: Any, indent: int | None = None) -> bytes:
    """Return JSON, with the placeholders of raw text replaced by it."""
    text = json.dumps(value, indent=indent)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode("utf-8", "surrogatepass")


def spoil_json(rng: Rng, content: bytes) -> bytes:
    """Damage a JSON file, or put a wrong value into it."""
    if rng.random() < 0.3:
        return damage(rng, content)
    return as_json(spoil(rng, json.loads(content)))


def spoil_lines(rng: Rng, content: bytes) -> bytes:
    """Damage a file of JSON lines, or put a wrong value into a line."""
    lines = content.splitlines(keepends=True)
    way = rng.random()
    if way < 0.3 or not lines:
        return damage(rng, content)
    at = rng.randrange(len(lines))
    if way < 0.4:
        lines[at] = rng.choice((b"\n", b"null\n", b"[]\n", b"{}\n", b"x" * (2**21) + b"\n", lines[0], b"\xff\n"))
    elif way < 0.5:
        rng.shuffle(lines)
    elif way < 0.55:
        lines = [line for number, line in enumerate(lines) if number % 3]
    else:
        try:
            lines[at] = as_json(spoil(rng, json.loads(lines[at]))) + b"\n"
        except ValueError:  # a format whose lines are not JSON
            return damage(rng, content)
    return b"".join(lines)


def spoil_toml(rng: Rng, content: str) -> bytes:
    """Damage a TOML file, or change one of its settings."""
    if rng.random() < 0.2:
        return damage(rng, content.encode())
    lines = content.splitlines()
    at = rng.choice([number for number, line in enumerate(lines) if "=" in line])
    key = lines[at].partition("=")[0]
    way = rng.random()
    if way < 0.7:
        lines[at] = f"{key}= {rng.choice(_TOML)}"
    elif way < 0.8:
        lines[at] = f"{rng.choice(('unknown', 'a.' * 20_000 + 'b', 'seed.x', 'Policy'))} = {rng.choice(_TOML)}"
    elif way < 0.9:
        lines.insert(at, rng.choice(("[base]", "[grid.policy]", "[[cells]]", "[grid]", "[x]", "[[base]]", "base = 5")))
    else:
        lines.insert(0, f"{rng.choice(('base', 'grid', 'cells', 'scenario', 'x'))} = {rng.choice(_TOML)}")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def spoil_table(rng: Rng, path: Path) -> None:
    """Damage a Parquet file, change its layout, or give it values that no run has."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if rng.random() < 0.4:
        path.write_bytes(damage(rng, path.read_bytes()))
        return
    table = pq.ParquetFile(path).read()
    name = rng.choice(table.schema.names)
    at = table.schema.get_field_index(name)
    column, rows = table.column(name).combine_chunks(), len(table)
    way = rng.randrange(9)
    if way == 0:
        table = table.drop_columns([name])
    elif way == 1:
        table = table.rename_columns([f"{n}_" if n == name else n for n in table.schema.names])
    elif way == 2:
        table = table.set_column(at, name, pa.nulls(rows, rng.choice((pa.null(), column.type))))
    elif way == 3:
        kind = rng.choice((pa.int8(), pa.float32(), pa.bool_(), pa.string(), pa.list_(pa.int64()), pa.timestamp("s")))
        table = table.set_column(
            at, name, pa.nulls(rows, kind).fill_null(0) if kind == pa.int8() else pa.nulls(rows, kind)
        )
    elif way == 4:
        table = table.slice(0, rng.randrange(rows + 1))
    elif way == 5:
        table = pa.concat_tables([table, table])
    elif way == 6:
        table = table.take(pa.array(rng.sample(range(rows), rows)))
    elif pa.types.is_floating(column.type):
        table = table.set_column(
            at, name, pa.array([rng.choice((float("nan"), float("inf"), -1.0, 1e300, 0.0))] * rows)
        )
    elif pa.types.is_integer(column.type):
        most = 2 ** (column.type.bit_width - 1) - 1
        table = table.set_column(at, name, pa.array([rng.choice((-1, 0, most, -most))] * rows, column.type))
    elif pa.types.is_string(column.type):
        table = table.set_column(at, name, pa.array([rng.choice(("", "x", "a" * 5000, "\x1b[31m"))] * rows))
    else:
        table = table.filter(pc.invert(pa.array([True] * rows)))
    pq.write_table(table, path)


def packed(rng: Rng, content: bytes, way: str) -> bytes:
    """Return the content compressed and then damaged, or a decompression bomb."""
    if rng.random() < 0.06:
        content = rng.choice((b"\n", b" ", b"[", b"0,", b'{"a":')) * rng.choice((2**22, 2**25))
    data = gzip.compress(content, 6, mtime=0) if way == ".gz" else zstandard.compress(content)
    return data if len(content) > 2**20 else damage(rng, data)


# Valid inputs --------------------------------------------------------------------------------------------------------

Run = Callable[[list[str]], None]

SCENARIO = """[scenario]
title = "of a test"
published = ""
figures = []
[base]
trace = "TRACE"
arrivals = "poisson:rate=0.5"
model = "llama-3.1-8b"
gpu = "a100-80"
kv_blocks = 3000
dram_gb = 1.0
limit = 2
repeat_turns = 1.0
tool_workers = 2
[grid]
policy = ["lru", "ttl:pressure=head"]
rate = [0.1, 0.2]
"""
SWEEP = """[base]
trace = "TRACE"
limit = 2
kv_blocks = 3000
arrivals = "poisson:rate=0.5"
tool_timeout = "bash:4,*:60"
[grid]
policy = ["lru", "ttl"]
seed = "0-1"
block_size = [16, 32]
[[cells]]
rate = 0.2
max_num_seqs = 8
"""


_SERVICE = ("--policies", "lru", "--quick", "--limit", "2", "--max-turns", "2", "--kv-blocks", "600", "--jobs", "1")


def make_valid(folder: Path, run: Run) -> None:
    """Fill a folder with small valid inputs of every kind; `run` executes a command."""
    from continuum_sim.traces import read_programs, truncate, write_programs
    from continuum_sim.traces.load import find_trace

    folder.mkdir()
    trace = folder / "trace.jsonl"
    write_programs(trace, [truncate(program, 3) for program in read_programs(find_trace("swebench"), limit=4)])
    load = ["--trace", str(trace), "--arrivals", "poisson:rate=2", "--kv-blocks", "4000"]
    run(["run", *load, "--policy", "ttl", "--decisions", "--out", str(folder / "run")])
    cluster = ["--replicas", "2", "--dram-gb", "1"]
    run(["run", *load, "--policy", "ttl", "--decisions", "--out", str(folder / "cluster"), *cluster])
    run(["compare", *load, "--policies", "lru,ttl", "--seeds", "0-1", "--out", str(folder / "compared")])
    run(["sweep", *load, "--policies", "lru,ttl", "--rates", "1,2", "--jobs", "1", "--out", str(folder / "swept")])
    run(["capacity", *_SERVICE, "--out", str(folder / "capacity")])
    run(["trace", "fit", "swebench", "-o", str(folder / "fit.json"), "--limit", "20"])
    (folder / "fitted.json").write_text(json.dumps(FITTED))
    (folder / "calibrated.json").write_text(json.dumps(CALIBRATED))
    (folder / "config.json").write_text(json.dumps(HF_CONFIG))
    (folder / "scenario.toml").write_text(SCENARIO.replace("TRACE", str(trace)))
    (folder / "sweep.toml").write_text(SWEEP.replace("TRACE", str(trace)))
    _write_profile(folder / "profile")
    logged = list(requests(12))
    write_lines(folder / "recorded.jsonl", simulated_rows(logged))
    (folder / "bench.json").write_text(json.dumps(bench_result(simulated_rows(logged))))
    for name, (file, content) in SAMPLES.items():
        (folder / "logs" / name).mkdir(parents=True)
        (folder / "logs" / name / Path(file).name).write_bytes(content)


FITTED = {
    "kind": "fitted",
    "c0_s": 0.01,
    "per_token_s": 1e-5,
    "per_decode_context_token_s": 1e-8,
    "per_prefill_pair_s": 1e-10,
    "provenance": {"engine": "a test"},
}
CALIBRATED = {
    "kind": "calibrated",
    "c0_s": 0.01,
    "per_token_s": 1e-5,
    "per_prefill_request_s": 1e-4,
    "per_prefill_context_token_s": 1e-8,
    "per_prefill_pair_s": 1e-10,
    "per_decode_request_s": 1e-5,
    "per_decode_context_token_s": 1e-8,
    "mixed_s": 0.0,
    "free_tokens": 16,
    "provenance": None,
}
HF_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "sliding_window": None,
    "layer_types": ["full_attention"] * 32,
    "rope_scaling": {"factor": 8.0, "type": "llama3"},
    "torch_dtype": "bfloat16",
}


def _write_profile(folder: Path) -> None:
    folder.mkdir()
    layers = ("layernorm", "qkv_proj", "rotary_emb", "o_proj", "gate_up_proj", "act_fn", "down_proj", "embedding")
    dense = [f"{layer},{tokens},{10 + tokens}" for layer in layers for tokens in (1, 64, 2048)]
    (folder / "dense.csv").write_text("\n".join(["layer,tokens,time_us", *dense]) + "\n")
    heads = [f"{layer},{count},{5 + count}" for layer in ("lm_head", "sampler") for count in (1, 64)]
    (folder / "per_sequence.csv").write_text("\n".join(["layer,sequences,time_us", *heads]) + "\n")
    rows = [
        f"{chunk},{context},{decodes},{kv},{1 + chunk + decodes}"
        for chunk in (0, 16, 512)
        for context in ((0, 1024) if chunk else (0,))
        for decodes in (0, 1, 64)
        for kv in ((128, 4096) if decodes else (0,))
        if chunk or decodes
    ]
    (folder / "attention.csv").write_text(
        "\n".join(["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", *rows]) + "\n"
    )
    unequal = [f"pure,{n},1,0.5,4,0,0,128,512,{kv},10,30,12,0.1" for n in (2, 64) for kv in (320, 5120)]
    head = "regime,n,nb,ratio,skew,pc,kp,kvs,kv_big,kv_mean,t_mean_us,t_max_us,t_skew_us,alpha"
    (folder / "skew.csv").write_text("\n".join([head, *unequal]) + "\n")


# Inputs ------------------------------------------------------------------------------------------------------------

Maker = Callable[[Rng, Path, Path], Malformed]


def malformed(seed: int, number: int, valid: Path, folder: Path) -> Malformed:
    """Write the input with this number into a new folder and return the command that reads it."""
    rng = Rng(f"{seed}-{number}")
    makers = [maker for maker, weight in _MAKERS for _ in range(weight)]
    folder.mkdir()
    return makers[number % len(makers)](rng, valid, folder)


_SHORT = ["--limit", "2", "--max-turns", "2"]


def _results(rng: Rng, valid: Path, folder: Path) -> Malformed:
    name = rng.choice(("run", "run", "cluster"))
    shutil.copytree(valid / name, folder / name)
    chosen = rng.choice(sorted(path.name for path in (folder / name).iterdir()))
    _spoil_results(rng, folder / name / chosen)
    command = rng.choice((_report, _timeline, _history, _figures, _again, _again, _diff))
    return Malformed(f"results {chosen}", command(rng, folder / name, folder), name)


def _spoil_results(rng: Rng, path: Path) -> None:
    if rng.random() < 0.05:
        path.unlink()
        if rng.random() < 0.5:
            path.mkdir()
    elif path.suffix == ".parquet":
        spoil_table(rng, path)
    elif path.suffix == ".jsonl":
        path.write_bytes(spoil_lines(rng, path.read_bytes()))
    else:
        path.write_bytes(spoil_json(rng, path.read_bytes()))


def _report(rng: Rng, results: Path, folder: Path) -> list[str]:
    return ["report", str(results), "--no-pictures"]


def _timeline(rng: Rng, results: Path, folder: Path) -> list[str]:
    return ["timeline", str(results), "--perfetto", str(folder / rng.choice(("t.json", "t.json.gz")))]


def _again(rng: Rng, results: Path, folder: Path) -> list[str]:
    return ["run", "--from", str(results), "--limit", "2", *rng.choice(([], ["--set", "max_turns=3"]))]


def _diff(rng: Rng, results: Path, folder: Path) -> list[str]:
    return ["diff", str(results), str(results)]


def _history(rng: Rng, results: Path, folder: Path) -> list[str]:
    return ["trace", "export", str(results), "--to", "continuum", "-o", str(folder / "history")]


def _figures(rng: Rng, results: Path, folder: Path) -> list[str]:
    only = rng.choice(("jct-cdf", "kv-occupancy", "wait-per-turn", "throughput", "time-breakdown", "ablation"))
    return ["figures", str(results), "--out", str(folder / "figures"), "--only", only, "--format", "svg"]


def _compared(rng: Rng, valid: Path, folder: Path) -> Malformed:
    shutil.copytree(valid / "compared", folder / "compared")
    inside = sorted(path for path in (folder / "compared").rglob("*") if path.is_file())
    chosen = rng.choice([*inside, *(path for path in inside if path.parent.name == "compared"), *inside[:2]])
    _spoil_results(rng, chosen)
    command = rng.choice((_report, _report, _figures, _diff))
    return Malformed(f"comparison {chosen.name}", command(rng, folder / "compared", folder), "compared")


def _capacity(rng: Rng, valid: Path, folder: Path) -> Malformed:
    place = folder / "capacity"
    shutil.copytree(valid / "capacity", place)
    chosen = rng.choice([place / "manifest.json", place / "capacity.json", *sorted((place / "measured").iterdir())[:2]])
    _spoil_results(rng, chosen)
    drawn = ["figures", str(place), "--out", str(folder / "f"), "--format", "svg"]
    again = ["capacity", *_SERVICE, "--out", str(place)]
    name = chosen.name if chosen.parent == place else "measured"
    return Malformed(f"capacity {name}", again if name == "measured" else rng.choice((drawn, again)), "capacity")


def _swept(rng: Rng, valid: Path, folder: Path) -> Malformed:
    if rng.random() < 0.3:
        return _capacity(rng, valid, folder)
    shutil.copytree(valid / "swept", folder / "swept")
    chosen = rng.choice([folder / "swept" / "manifest.json", *(folder / "swept" / "cells").glob("*.parquet")])
    _spoil_results(rng, chosen)
    if rng.random() < 0.3:
        (folder / "swept" / "failures.json").write_bytes(
            spoil_json(rng, b'[{"cell": "", "settings": {"a": 1}, "reason": "x"}]')
        )
    load = ["--trace", str(valid / "trace.jsonl"), "--arrivals", "poisson:rate=2", "--kv-blocks", "4000"]
    again = ["sweep", *load, "--policies", "lru,ttl", "--rates", "1,2", "--jobs", "1", "--out", str(folder / "swept")]
    only = rng.choice(("jct-vs-rate", "ablation", "throughput", "jct-cdf"))
    drawn = ["figures", str(folder / "swept"), "--out", str(folder / "f"), "--only", only, "--format", "svg"]
    return Malformed(f"sweep {chosen.name}", rng.choice((again, again, drawn)), "swept")


def _settings_file(rng: Rng, valid: Path, folder: Path) -> Malformed:
    name = rng.choice(("scenario.toml", "sweep.toml"))
    path = folder / name
    path.write_bytes(spoil_toml(rng, (valid / name).read_text()))
    if name == "sweep.toml":
        command = ["sweep", str(path), "--out", str(folder / "o"), "--jobs", "1"]
    else:
        command = rng.choice(
            (
                ["run", "--scenario", str(path)],
                ["compare", "--scenario", str(path)],
                ["sweep", "--scenario", str(path), "--out", str(folder / "o"), "--jobs", "1"],
            )
        )
    return Malformed(f"toml {name} {command[0]}", command, None)


def _model_file(rng: Rng, valid: Path, folder: Path) -> Malformed:
    name = rng.choice(("fitted.json", "calibrated.json", "config.json"))
    path = folder / name
    path.write_bytes(spoil_json(rng, (valid / name).read_bytes()))
    given = ["--model", str(path)] if name == "config.json" else ["--step-time", f"fitted:{path}"]
    return Malformed(f"json {name}", ["run", "--trace", str(valid / "trace.jsonl"), *_SHORT, *given], None)


def _fit_file(rng: Rng, valid: Path, folder: Path) -> Malformed:
    path = folder / "fit.json"
    path.write_bytes(spoil_json(rng, (valid / "fit.json").read_bytes()))
    return Malformed("json fit", ["trace", "generate", str(path), "-n", "5", "-o", str(folder / "o.jsonl")], None)


def _profile(rng: Rng, valid: Path, folder: Path) -> Malformed:
    shutil.copytree(valid / "profile", folder / "profile")
    path = rng.choice(sorted((folder / "profile").iterdir()))
    lines = path.read_text().splitlines()
    if rng.random() < 0.4:
        path.write_bytes(damage(rng, path.read_bytes()))
    else:
        cells = lines[at := rng.randrange(len(lines))].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(NUMBERS)
        lines[at] = ",".join(cells)
        path.write_text("\n".join(lines), errors="surrogateescape")
    given = ["--step-time", f"profiled:{folder / 'profile'}"]
    return Malformed(f"csv {path.name}", ["run", "--trace", str(valid / "trace.jsonl"), *_SHORT, *given], None)


def _trace(rng: Rng, valid: Path, folder: Path) -> Malformed:
    content, suffix = (valid / "trace.jsonl").read_bytes(), rng.choice(("", "", ".gz", ".zst"))
    path = folder / f"trace.jsonl{suffix}"
    path.write_bytes(packed(rng, content, suffix) if suffix else spoil_lines(rng, content))
    command = rng.choice(
        (
            ["run", "--trace", str(path)],
            ["trace", "check", str(path)],
            ["trace", "stats", str(path)],
            ["trace", "scale", str(path), "--scale", "tokens=2", "-o", str(folder / "o.jsonl")],
            ["trace", "mix", str(path), "-o", str(folder / "o.jsonl")],
            ["trace", "fit", str(path), "-o", str(folder / "o.json")],
            ["trace", "compare", str(path), str(valid / "trace.jsonl")],
            ["trace", "export", str(path), "--to", rng.choice(("mooncake", "weka", "aiperf")), "-o", str(folder / "x")],
            ["sweep", "--trace", str(path), "--policies", "lru,ttl", "--jobs", "1", "--out", str(folder / "s")],
        )
    )
    return Malformed(f"trace{suffix} {' '.join(command[:2])}", command, None)


def _log(rng: Rng, valid: Path, folder: Path) -> Malformed:
    name = rng.choice(sorted(set(SAMPLES) - set(NEED_TOKENIZER)))
    source = next((valid / "logs" / name).iterdir())
    content, suffix = source.read_bytes(), rng.choice(("", "", "", ".gz", ".zst"))
    path = folder / f"{source.name}{suffix}"
    try:
        spoiled = spoil_json(rng, content)
    except ValueError:
        spoiled = spoil_lines(rng, content)
    path.write_bytes(packed(rng, content, suffix) if suffix else spoiled)
    given = rng.choice(([], ["--from", name], ["--from", name, "--skip-bad"]))
    return Malformed(f"log {name}{suffix}", ["trace", "import", str(path), *given, "-o", str(folder / "o.jsonl")], None)


def _recorded(rng: Rng, valid: Path, folder: Path) -> Malformed:
    name = rng.choice(("recorded.jsonl", "bench.json"))
    content, path = (valid / name).read_bytes(), folder / name
    path.write_bytes((spoil_lines if name.endswith("jsonl") else spoil_json)(rng, content))
    return Malformed(f"recorded {name}", ["backtest", str(path), "--gpu", "a100-80"], None)


_FLAGS = {
    "run": (
        *("--seed", "--limit", "--max-turns", "--repeat-turns", "--tensor-parallel-size", "--gpu-memory-utilization"),
        *("--block-size", "--max-num-batched-tokens", "--max-num-seqs", "--max-model-len", "--kv-blocks"),
        *("--watermark", "--dram-gb", "--dram-gbps", "--ssd-gb", "--ssd-gbps", "--replicas", "--tool-workers"),
        *("--tool-timeout", "--tool-failure-rate", "--tool-retries", "--trace", "--policy", "--model", "--gpu"),
        *("--arrivals", "--router", "--step-time", "--scenario", "--engine", "--reload"),
    ),
    "compare": ("--seeds", "--policies", "--baseline", "--limit", "--jobs", "--kv-blocks"),
    "capacity": ("--slo", "--rate", "--seeds", "--programs", "--burst", "--horizon", "--jobs", "--backend"),
    "sweep": ("--seeds", "--policies", "--rates", "--vary", "--jobs", "--limit", "--backend"),
    "sweep tune ttl-static": ("--trials", "--seeds", "--holdout", "--rate", "--metric", "--param", "--search-seed"),
    "trace stats bfcl": ("--limit", "--max-turns"),
    "trace generate bfcl": ("--programs", "--seed", "--compare"),
    "trace scale bfcl": ("--scale", "--tail", "--limit", "--max-turns", "--max-model-len"),
    "trace anonymize bfcl": ("--seed",),
    "trace mix bfcl": ("--programs", "--seed"),
    "trace fit bfcl": ("--limit",),
    "trace export bfcl": ("--to", "--limit", "--max-turns", "--block-size"),
    "hardware": (
        *("--model", "--gpu", "--tensor-parallel-size", "--gpu-memory-utilization", "--block-size"),
        *("--max-model-len", "--context", "--step-time"),
    ),
}


def _flag(rng: Rng, valid: Path, folder: Path) -> Malformed:
    command = rng.choice(["run"] * 6 + sorted(_FLAGS))
    value = rng.choice(NUMBERS)
    flag = rng.choice(_FLAGS[command])
    arguments = [*command.split(), flag, value]
    if flag == "--vary":
        arguments[-1] = f"{rng.choice(('kv_blocks', 'seed', 'limit', 'dram_gb', 'watermark', 'rate', 'x'))}={value}"
    if flag == "--jobs" and value.strip() not in ("1", "", "x") and not value.startswith(("0", "none")):
        arguments[-1] = rng.choice(("0", "-2", "x", "1.5", "nan"))  # other values would start that many processes
    if command in ("run", "compare", "sweep") and flag not in ("--limit", "--trace"):
        arguments += ["--limit", "2"]
    if command in ("run", "compare", "sweep") and flag not in ("--max-turns", "--repeat-turns"):
        arguments += ["--max-turns", "2"]
    if command == "capacity":
        arguments += _SERVICE[: -2 if flag == "--jobs" else None]
    if command == "sweep":
        arguments += [*(("--jobs", "1") if flag != "--jobs" else ()), "--out", str(folder / "o")]
    if command.startswith("sweep tune"):
        arguments += ["--limit", "2", "--max-turns", "2", "--jobs", "1"]
        for other, small in (("--trials", "2"), ("--seeds", "0"), ("--holdout", "1")):
            arguments += [] if flag == other else [other, small]
    if command.split()[0] == "trace" and command.split()[1] != "stats":
        arguments += [
            "-o",
            str(folder / "o"),
            *(("--to", "mooncake") if "export" in command and flag != "--to" else ()),
        ]
        arguments += ["--scale", "tokens=2"] if "scale" in command and flag not in ("--scale", "--tail") else []
    return Malformed(f"{command} {flag}", arguments, None)


def _spec(rng: Rng, valid: Path, folder: Path) -> Malformed:
    """Give a wrong parameter to a policy, an arrival process, a router, a step-time model or the like."""
    from continuum_sim.policies.registry import ORDERS, PRESETS, ROUTINGS

    value = rng.choice(NUMBERS)
    way = rng.randrange(8)
    if way <= 2:
        preset = PRESETS[rng.choice(sorted(PRESETS))]
        names = [item.name for item in preset.parameters] or ["ttl"]
        arguments = ["--policy", f"{preset.name}:{rng.choice(names)}={value}", *rng.choice(([], ["--dram-gb", "1"]))]
    elif way == 3:
        name = rng.choice(("poisson:rate", "gamma:cv=1,rate", "gamma:rate=1,cv", "uniform:rate", "closed:workers"))
        arguments = ["--arrivals", f"{name}={value}"]
    elif way == 4:
        name = rng.choice(sorted(ROUTINGS))
        setting = rng.choice(("index", "weight", "slack", "capacity", "x"))
        arguments = ["--replicas", "2", "--router", f"{name}:{setting}={value}"]
    elif way == 5:
        name = rng.choice(("roofline:host_overhead_s", "roofline:x", "profiled:x,host_overhead_s", "fitted:", "zzz:"))
        arguments = ["--step-time", f"{name}={value}"]
    elif way == 6:
        name = rng.choice(("bash:{},*:2", "*:{}", "{}:1", "bash:1,bash:{}", "bash={}"))
        arguments = [rng.choice(("--tool-workers", "--tool-timeout", "--tool-retries")), name.format(value)]
    else:
        order, spelt = rng.choice(sorted(ORDERS)), ("order={},retention=ttl-static:ttl={}", "retention={1},order={0}")
        other = ("h100:{1}", "h100:2:dram_gb={1}", "{0}:{1}", "h100:2,a100-80:{1}")
        flag, forms = rng.choice((("--policy", spelt), ("--replicas", other)))
        arguments = [flag, rng.choice(forms).format(order, value)]
    name = re.sub(r"=.*", "", " ".join(arguments[:2]))
    return Malformed(f"spec {name}", ["run", *_SHORT, *arguments], None)


_MAKERS: tuple[tuple[Maker, int], ...] = (
    (_results, 6),
    (_compared, 2),
    (_swept, 2),
    (_settings_file, 3),
    (_model_file, 3),
    (_fit_file, 1),
    (_profile, 1),
    (_trace, 4),
    (_log, 3),
    (_recorded, 2),
    (_flag, 4),
    (_spec, 4),
)
