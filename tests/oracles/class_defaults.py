"""Write what configuration classes hold where a file is silent: run it with the Python that has vLLM.

`python tests/oracles/class_defaults.py` writes `sim/hardware/hf/class_defaults.json`: a model type -> the numbers and
flags of a configuration made without arguments, the other spellings of its fields, and the types of its parts.
"""

from __future__ import annotations

import inspect
import json
import os
import warnings
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "sim/hardware/hf/class_defaults.json"
PARTS = ("text_config", "vision_config", "audio_config", "thinker_config", "llm_config", "language_config")
WORDS = ("hidden_act", "hidden_activation", "activation_function", "mlp_hidden_act")
LONGEST_LIST = 16
NOT_SHAPES = (
    "token",
    "output_",
    "use_cache",
    "pretraining_tp",
    "norm_topk",
    "summary_",
    "chunk_size_feed",
    "top_k_exp",
)
"""What begins so or holds it says nothing of weights, caches or lengths."""


def defaults_of(cls: Any, common: set[str]) -> dict[str, Any]:
    """Return the entry of one class."""
    made = cls()
    computed = _computed(cls)
    fields = {
        name: value
        for name, value in made.to_dict().items()
        if name not in common | computed and _is_shape(name, value)
    }
    tied = getattr(made, "tie_word_embeddings", None)
    parts = {name: getattr(getattr(made, name, None), "model_type", None) for name in PARTS}
    entry = {
        "fields": fields | ({} if tied is None else {"tie_word_embeddings": tied}),
        "spelled": dict(getattr(cls, "attribute_map", {})),
        "parts": {name: kind for name, kind in parts.items() if kind},
    }
    return {name: value for name, value in entry.items() if value}


def _computed(cls: Any) -> set[str]:
    """Fields that follow from others where they are not given, such as a head's width."""
    silent = {name for name, each in getattr(cls, "__dataclass_fields__", {}).items() if each.default is None}
    arguments = inspect.signature(cls.__init__).parameters
    return silent | {name for name, argument in arguments.items() if argument.default is None}


def _is_shape(name: str, value: Any) -> bool:
    if any(word in name for word in NOT_SHAPES):
        return False
    if isinstance(value, list):
        return 0 < len(value) <= LONGEST_LIST and all(isinstance(item, int) for item in value)
    return isinstance(value, int) or (name in WORDS and isinstance(value, str))


def main() -> None:
    """Write the file anew."""
    warnings.filterwarnings("ignore")
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    from transformers import CONFIG_MAPPING, PretrainedConfig
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    common = set(PretrainedConfig().to_dict()) - {"tie_word_embeddings"}
    found: dict[str, dict[str, Any]] = {}
    for model_type in sorted({*CONFIG_MAPPING, *_CONFIG_REGISTRY}):
        try:
            cls = _CONFIG_REGISTRY[model_type] if model_type in _CONFIG_REGISTRY else CONFIG_MAPPING[model_type]
            found[model_type] = defaults_of(cls, common)
        except Exception as error:  # classes that ask for the network or for arguments
            print(f"{model_type}: left out ({' '.join(str(error).split())[:80]})")
    kept = {name: entry for name, entry in found.items() if _decodes(entry, found)}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in kept.items())
    partial = TARGET.with_suffix(".part")
    partial.write_text("{\n" + text + "\n}\n", "utf-8")
    partial.replace(TARGET)
    print(f"{len(kept)} types of {len(found)}, {TARGET.stat().st_size:,} bytes")


def _decodes(entry: dict[str, Any], found: dict[str, dict[str, Any]]) -> bool:
    """Whether it is a decoder's, or a part of one's."""
    fields, spelled = entry.get("fields", {}), entry.get("spelled", {})
    layers = {"num_hidden_layers", spelled.get("num_hidden_layers")} & fields.keys()
    if "vocab_size" in fields and layers and "type_vocab_size" not in fields:
        return True
    if entry.get("parts"):
        return True
    return "vocab_size" not in fields and bool({"patch_size", "num_mel_bins"} & fields.keys())


if __name__ == "__main__":
    main()
