"""What our reader makes of every configuration beside vLLM's answers: `python tests/oracles/compare.py [NAME]`.

The worst comes first. Weights count as right within 1 %, everything else when it is equal. Without names the table of
the docs, `docs/models.csv`, is written anew.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from ask_vllm import DEFAULTS
from refresh import CONFIGS, read_answers

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.groups import Groups, model_groups
from continuum_sim.hardware.kv import served_with
from continuum_sim.hardware.parallel import Parallel

WITHIN = 0.01
KINDS = {
    "FullAttentionSpec": "full",
    "MLAAttentionSpec": "mla",
    "SlidingWindowMLASpec": "mla",
    "SlidingWindowSpec": "sliding",
    "ChunkedLocalAttentionSpec": "chunked",
    "MambaSpec": "recurrent",
}
TABLE = Path(__file__).parents[2] / "docs/models.csv"


@dataclass(frozen=True)
class Compared:
    """Ours and vLLM's of one question; None where there is none."""

    name: str
    asked: str
    what: str
    ours: str
    vllm: str
    right: bool


def compare(record: dict[str, Any]) -> list[Compared]:
    """Compare all values of one answer."""
    name, question, answer = record["config"], record["question"], record["answer"]
    asked = ", ".join(f"{field}={value}" for field, value in question.items())

    def row(what: str, ours: object, vllm: object, right: bool) -> Compared:
        return Compared(name, asked, what, _shown(ours), _shown(vllm), right)

    settings = DEFAULTS | question
    size = settings["tensor_parallel_size"]
    try:
        model = served_with(find_model(CONFIGS / name), settings["kv_cache_dtype"])
        weights = model.weight_bytes_per_rank(Parallel(size))
        groups = model_groups(model, tensor_parallel_size=size, block_size=settings["block_size"])
    except ConfigError as error:
        told = str(error).replace(str(CONFIGS / name), "").lstrip("/")
        if "error" in answer:
            return [row("refused by both", told, answer["error"], True)]
        return [row("refused", told, f"{answer['weight_bytes']:,} bytes of weights", False)]
    if "error" in answer:
        # What its CPU build cannot make is no refusal.
        return [row("accepted", model.n_params, answer["error"], answer["at"] == "process")]
    rows = [
        row("weight bytes", weights, answer["weight_bytes"], abs(weights / answer["weight_bytes"] - 1) <= WITHIN),
        _equal(row, "max_model_len", model.max_model_len, answer["max_model_len"]),
        _equal(row, "groups", _groups(groups), _groups_of_vllm(answer["groups"])),
    ]
    if "num_blocks" in answer:
        kv_bytes, tokens = settings["kv_bytes"], settings["max_num_batched_tokens"]
        capacity = groups.capacity_tokens(kv_bytes, model.max_model_len, tokens)
        rows.append(_equal(row, "blocks", groups.num_blocks(kv_bytes), answer["num_blocks"]))
        rows.append(_equal(row, "capacity tokens", capacity, answer["capacity_tokens"]))
    return rows


def _groups(groups: Groups) -> str:
    """Ours in the words of `_groups_of_vllm`."""
    told: Counter[str] = Counter()
    for group in groups.groups:
        told[_group(len(group.layers), {spec.kind for spec in group.specs}, group.block_size)] += 1
    return _added(told)


def _groups_of_vllm(groups: list[dict[str, Any]]) -> str:
    """Groups as "COUNT x LAYERS KIND of BLOCK SIZE"."""
    told: Counter[str] = Counter()
    for group in groups:
        kinds = {KINDS[kind] for kind in group.get("kinds", [group["kind"]])}
        told[_group(group["layers"], kinds, group["block_size"])] += group["groups"]
    return _added(told)


def _group(layers: int, kinds: set[str], block_size: int) -> str:
    return f"{layers} {'/'.join(sorted(kinds))} of {block_size}"


def _added(told: Counter[str]) -> str:
    return " + ".join(f"{count} x {what}" for what, count in sorted(told.items()))


def _equal(row: Any, what: str, ours: object, vllm: object) -> Compared:
    compared: Compared = row(what, ours, vllm, ours == vllm)
    return compared


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def table() -> str:
    """Return the table of the docs: a line an answer, those that differ first, then as they were asked."""
    lines = []
    for record in read_answers():
        rows = {row.what: row for row in compare(record)}
        right = all(row.right for row in rows.values())
        said = {"refused by both": "refused by both", "refused": "refused here", "accepted": "vLLM could not build it"}
        verdict = next((text for what, text in said.items() if what in rows), "as vLLM" if right else "differs")
        cells = [record["config"], next(iter(rows.values())).asked, verdict]
        for what in ("weight bytes", "max_model_len", "groups", "blocks", "capacity tokens"):
            row = rows.get(what)
            cells += ["", ""] if row is None else [row.ours.replace(",", ""), row.vllm.replace(",", "")]
        lines.append((right, cells))
    lines.sort(key=lambda line: line[0])
    names = ("weight_bytes", "max_model_len", "kv_cache_groups", "num_gpu_blocks", "kv_cache_tokens")
    head = ["configuration", "asked", "verdict", *(f"{name}_{whose}" for name in names for whose in ("ours", "vllm"))]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *(cells for _, cells in lines)])
    return text.getvalue()


def main(names: list[str]) -> None:
    """Print the table by kind of difference."""
    rows = [row for record in read_answers() if not names or record["config"] in names for row in compare(record)]
    kinds: dict[tuple[bool, str], list[Compared]] = defaultdict(list)
    for each in rows:
        kinds[each.right, each.what].append(each)
    for (right, what), found in sorted(kinds.items()):
        models = {each.name for each in found}
        print(f"\n{'right' if right else 'WRONG'}: {what} ({len(found)} answers of {len(models)} configurations)")
        for each in found:
            print(f"  {each.name:44} {each.asked:34} ours {each.ours}; vLLM {each.vllm}")


if __name__ == "__main__":
    main(sys.argv[1:])
    if not sys.argv[1:]:
        TABLE.write_text(table(), "utf-8")
