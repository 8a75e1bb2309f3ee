"""Fields that a class spells differently or derives from others, where `class_defaults.json` cannot express it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from continuum_sim.hardware.hf.fields import Fields

Derive = Callable[["Fields"], Any]

_GLM: Final = {
    "num_hidden_layers": "num_layers",
    "intermediate_size": "ffn_hidden_size",
    "num_key_value_heads": "multi_query_group_num",
    "vocab_size": "padded_vocab_size",
    "max_position_embeddings": "seq_length",
    "head_dim": "kv_channels",
}

SPELLED: Final[Mapping[str, Mapping[str, str]]] = {
    "chatglm": _GLM,
    "exaone": {"num_hidden_layers": "num_layers"},
    "opt": {"intermediate_size": "ffn_dim"},
    "gptj": {"intermediate_size": "n_inner"},
    "gpt2": {"intermediate_size": "n_inner"},
    "gpt_bigcode": {"intermediate_size": "n_inner"},
}
"""Spellings of types whose class is code beside the weights, or that vLLM reads by that name; `class_defaults.json`
has those of transformers."""


def _four_times(*names: str) -> Derive:
    """The width of an MLP, four times the stream's if none of the named fields gives it."""

    def derive(fields: Fields) -> Any:
        given = next((fields.own[name] for name in names if fields.own.get(name) is not None), None)
        return 4 * fields.count("hidden_size") if given is None else given

    return derive


def _one_if(flag: str, otherwise: tuple[str, ...] = (), unless: str = "") -> Derive:
    """KV heads: one if a flag says so; otherwise the first of some fields, or as many as query heads."""

    def derive(fields: Fields) -> Any:
        if fields.flag(flag) and not (unless and fields.flag(unless)):
            return 1
        given = next((fields.own[name] for name in otherwise if fields.own.get(name) is not None), None)
        return fields.count("num_attention_heads") if given is None else given

    return derive


def _within(part: str, name: str, default: int) -> Derive:
    """A field inside a part, such as `ffn_config` of DBRX."""

    def derive(fields: Fields) -> Any:
        nested = fields.own.get(part)
        value = nested.get(name) if isinstance(nested, dict) else None
        return default if value is None else value

    return derive


_FALCON: Final[Mapping[str, Derive]] = {
    "num_key_value_heads": _one_if("multi_query", ("n_head_kv", "num_kv_heads"), unless="new_decoder_architecture"),
    "intermediate_size": _four_times("ffn_hidden_size"),
}


def _named(name: str) -> Derive:
    """A field that takes precedence over the common one."""
    return lambda fields: fields.own.get(name)


DERIVED: Final[Mapping[str, Mapping[str, Derive]]] = {
    "gpt2": {"intermediate_size": _four_times("n_inner", "intermediate_size")},
    "gptj": {"intermediate_size": _four_times("n_inner", "intermediate_size")},
    "gpt_bigcode": {
        "intermediate_size": _four_times("n_inner", "intermediate_size"),
        "num_key_value_heads": _one_if("multi_query"),
    },
    "bloom": {"hidden_size": _named("n_embed"), "intermediate_size": _four_times()},
    "falcon": _FALCON,
    "RefinedWeb": _FALCON,
    "RefinedWebModel": _FALCON,
    "dbrx": {
        "num_key_value_heads": _within("attn_config", "kv_n_heads", 1),
        "intermediate_size": _within("ffn_config", "ffn_hidden_size", 3584),
        "num_local_experts": _within("ffn_config", "moe_num_experts", 4),
        "num_experts_per_tok": _within("ffn_config", "moe_top_k", 1),
    },
}
"""A model type -> fields that its class derives from others. A function that returns None leaves a field unchanged."""

_MINICPM: Final = {"2.6": "qwen2", "4.0": "llama", "4.5": "qwen3"}


def language_model_of(model_type: str, own: Mapping[str, Any]) -> str:
    """Return the type of the language model in a flat configuration of another type; empty if there is none."""
    return _MINICPM.get(str(own.get("version")), "llama") if model_type in ("minicpmv", "minicpmo") else ""
