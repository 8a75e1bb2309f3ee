"""Ask vLLM what each GPU of a split holds: run `tests/oracles/ask_splits.py [NAME ...]` with the Python that has it.

As `ask_vllm.py`, on the meta device: the model is built once for each stage of a pipeline, as by rank 0 of so many
tensor, data and expert parallel ones. `splits.json` has a record of every split asked about: bytes of the weights of
each stage, and the blocks of KV cache if each GPU has `KV_BYTES` for it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from ask_vllm import DEFAULTS, _answer_as_a_gpu, _built, _engine_config, _know_its_type, _one_line
from refresh import CONFIGS, PRELOADED

ANSWERS = Path(__file__).with_name("splits.json")
KV_BYTES = 64 * 2**30
STAGES = {"pipeline_parallel_size": 2}
EXPERTS = {"data_parallel_size": 8, "enable_expert_parallel": True}
DENSE = (
    *("llama-3.1-8b", "llama-3.2-1b", "qwen3-8b", "gemma-2-9b", "gemma-3-12b", "gemma-4-31b", "phi-4", "minicpm3-4b"),
    *("mistral-small-3.1-24b", "command-r7b", "olmo-3-7b", "qwen2.5-vl-7b", "llama-3.1-8b-fp8-dynamic", "smollm3-3b"),
    *("falcon-h1-7b", "nvidia-nemotron-nano-9b-v2", "granite-4.0-h-tiny", "jamba-v0.1", "lfm2-1.2b", "glm-4-9b-0414"),
)
MIXTURES = (
    *("deepseek-v3", "deepseek-v2-lite", "qwen3-30b-a3b", "gpt-oss-20b", "gpt-oss-120b", "mixtral-8x7b", "glm-4.5-air"),
    *("qwen3-next-80b-a3b", "llama-4-scout", "kimi-k2-instruct", "minimax-m2.5", "deepseek-v3.2", "glm-4.5"),
    *("qwen3-235b-a22b-fp8", "deepseek-v4-flash", "qwen3.5-35b-a3b", "mimo-v2-flash"),
)


def asked() -> list[tuple[str, dict[str, Any]]]:
    """All questions: the name of a configuration and a split; of each type one model at least in two stages."""
    found = [(name, split) for name in (*DENSE, *MIXTURES) for split in (STAGES, {"pipeline_parallel_size": 3})]
    for name in MIXTURES:
        found += [(name, EXPERTS), (name, {"data_parallel_size": 4}), (name, {"tensor_parallel_size": 2, **EXPERTS})]
        found.append((name, {"tensor_parallel_size": 4, "enable_expert_parallel": True}))
        found.append((name, {"tensor_parallel_size": 2, "data_parallel_size": 2, **STAGES}))
    types = {_model_type(folder): folder.name for folder in sorted(CONFIGS.iterdir(), reverse=True)}
    others = sorted(set(types.values()) - {*DENSE, *MIXTURES})
    return found + [(name, STAGES) for name in others if "variant" not in name]


def _model_type(folder: Path) -> str:
    fields = json.loads((folder / "config.json").read_text("utf-8"))
    return str(fields.get("text_config", fields).get("model_type", fields["model_type"]))


def ask(name: str, split: dict[str, Any]) -> dict[str, Any]:
    """Return the answer, or `{"error": ...}` where a stage cannot be built; to be called once in a process."""
    import torch

    _answer_as_a_gpu()
    from vllm.model_executor.layers.fused_moe import expert_map_manager

    _know_its_type(CONFIGS / name)
    # Which experts are a rank's own is a tensor too, whose contents are looked at.
    determine = expert_map_manager.determine_expert_map

    def determine_on_the_cpu(*args: Any, **options: Any) -> Any:
        with torch.device("cpu"):
            return determine(*args, **options)

    expert_map_manager.determine_expert_map = determine_on_the_cpu
    stages, caches = [], []
    try:
        for stage in range(split.get("pipeline_parallel_size", 1)):
            config = _engine_config(CONFIGS / name, DEFAULTS)
            parameters = list(_built_stage(config, split, stage).parameters())
            stages.append(sum(each.numel() * each.element_size() for each in parameters))
            caches.append(_caches(config))
        return {"weight_bytes": stages, "num_blocks": _blocks(config, caches)}
    except Exception as error:
        return {"error": _one_line(error)}


def _built_stage(config: Any, split: dict[str, Any], stage: int) -> Any:
    import vllm.distributed.parallel_state as parallel

    begin, sizes = parallel.initialize_model_parallel, {"data_parallel_size": 1, "pipeline_parallel_size": 1} | split
    tensor = sizes.get("tensor_parallel_size", 1)

    def begin_as_one_of_many(*_: Any) -> None:
        if not parallel.model_parallel_is_initialized():
            begin(1, 1)
        parallel.get_pp_group().world_size, parallel.get_pp_group().rank_in_group = (
            sizes["pipeline_parallel_size"],
            stage,
        )
        parallel.get_pp_group().ranks = list(range(sizes["pipeline_parallel_size"]))
        parallel.get_pp_group().rank = stage
        parallel.get_dp_group().world_size = sizes["data_parallel_size"]
        for name, value in sizes.items():
            setattr(config.parallel_config, name, value)

    environment = parallel.init_distributed_environment
    parallel.initialize_model_parallel = begin_as_one_of_many
    if stage:
        parallel.init_distributed_environment = lambda *_: None
    try:
        return _built(config, tensor)
    finally:
        parallel.initialize_model_parallel, parallel.init_distributed_environment = begin, environment


def _caches(config: Any) -> dict[str, Any]:
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.platforms import current_platform

    with set_current_vllm_config(config):
        current_platform.update_block_size_for_backend(config)
        found = {
            name: layer.get_kv_cache_spec(config)
            for name, layer in config.compilation_config.static_forward_context.items()
            if isinstance(layer, AttentionLayerBase) and not getattr(layer, "kv_sharing_target_layer_name", None)
        }
    return {name: spec for name, spec in found.items() if spec is not None}


def _blocks(config: Any, caches: list[dict[str, Any]]) -> int:
    from vllm.config import set_current_vllm_config
    from vllm.v1.core.kv_cache_utils import get_kv_cache_configs

    pages = {spec.page_size_bytes for some in caches for spec in some.values()}
    config.cache_config.kv_cache_layout = "LBNHC" if len(pages) == 1 else "BLNHC"
    config.model_config.max_model_len = 8192  # of which one fits
    with set_current_vllm_config(config):
        counts = {one.num_blocks for one in get_kv_cache_configs(config, caches, [KV_BYTES] * len(caches))}
    (blocks,) = counts
    return int(blocks)


def ask_apart(name: str, split: dict[str, Any]) -> dict[str, Any]:
    """Ask in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ask_splits", *PRELOADED])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, name, split), daemon=True)
    process.start()
    sender.close()
    answer = {"error": "no answer within 240 s"}
    if receiver.poll(240):
        try:
            answer = receiver.recv()
        except EOFError:
            answer = {"error": "the process ended without an answer"}
    process.kill()
    process.join()
    return answer


def _send(sender: Any, name: str, split: dict[str, Any]) -> None:
    import ask_splits

    sender.send(ask_splits.ask(name, split))


def read_answers() -> list[dict[str, Any]]:
    """One record a question: `config`, `split` and `answer`."""
    found: list[dict[str, Any]] = json.loads(ANSWERS.read_text("utf-8")) if ANSWERS.exists() else []
    return found


def main(names: list[str]) -> None:
    """Ask what is missing, or all about some configurations; every answer is written as it comes."""
    table = {(record["config"], json.dumps(record["split"])): record for record in read_answers()}
    for name, split in asked():
        key = (name, json.dumps(split))
        if (name in names) if names else key not in table:
            table[key] = {"config": name, "split": split, "answer": ask_apart(name, split)}
            print(name, split, table[key]["answer"], flush=True)
            records = [table[one, json.dumps(how)] for one, how in asked() if (one, json.dumps(how)) in table]
            ANSWERS.write_text("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
