"""Write what configuration classes hold where a file is silent: run it with the Python that has vLLM.

`python tests/oracles/class_defaults.py` writes two files of `sim/hardware/hf`:
* `class_defaults.json`: a model type -> the numbers and flags of a configuration made without arguments, the other
  spellings of its fields, the types of its parts, and whether it takes null (`nullable` fields; all where `loose`);
* `architectures.json`: the names of vLLM's classes by what they are for.
"""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "sim/hardware/hf"
TARGET = FOLDER / "class_defaults.json"
ARCHITECTURES = FOLDER / "architectures.json"
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
    kept = fields | ({} if tied is None else {"tie_word_embeddings": tied})
    nullable = [name for name in kept if _takes_null(cls, name)]
    entry = {
        "fields": kept,
        "spelled": dict(getattr(cls, "attribute_map", {})),
        "parts": {name: kind for name, kind in parts.items() if kind},
        "nullable": nullable if len(nullable) < len(kept) else [],
        "loose": 0 < len(kept) == len(nullable),
    }
    return {name: value for name, value in entry.items() if value}


def _computed(cls: Any) -> set[str]:
    """Fields that follow from others where they are not given, such as a head's width."""
    silent = {name for name, each in getattr(cls, "__dataclass_fields__", {}).items() if each.default is None}
    arguments = inspect.signature(cls.__init__).parameters
    return silent | {name for name, argument in arguments.items() if argument.default is None}


def _takes_null(cls: Any, name: str) -> bool:
    """Whether the class, if it checks the types of its fields, takes null for this one."""
    field = getattr(cls, "__dataclass_fields__", {}).get(name)
    return field is None or "None" in str(field.type) or "Any" in str(field.type)


def _is_shape(name: str, value: Any) -> bool:
    if any(word in name for word in NOT_SHAPES):
        return False
    if isinstance(value, list):
        return 0 < len(value) <= LONGEST_LIST and all(isinstance(item, int) for item in value)
    return isinstance(value, int) or (name in WORDS and isinstance(value, str))


def all_defaults(types: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the entries of some model types, without those that cannot be made."""
    warnings.filterwarnings("ignore")
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    from transformers import CONFIG_MAPPING, PretrainedConfig
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    common = set(PretrainedConfig().to_dict()) - {"tie_word_embeddings"}
    found: dict[str, dict[str, Any]] = {}
    for model_type in types:
        try:
            cls = _CONFIG_REGISTRY[model_type] if model_type in _CONFIG_REGISTRY else CONFIG_MAPPING[model_type]
            found[model_type] = defaults_of(cls, common)
        except Exception as error:  # classes that ask for the network or for arguments
            print(f"{model_type}: left out ({' '.join(str(error).split())[:80]})")
    return found


def registered() -> dict[str, Any]:
    """Return the names of vLLM's `ModelRegistry` by what its classes are for."""
    from vllm.model_executor.models import registry

    served = registry._TRANSFORMERS_SUPPORTED_MODELS | registry._TRANSFORMERS_BACKEND_MODELS
    multimodal = {name for name, (_, cls) in served.items() if "MultiModal" in cls} | {*registry._MULTIMODAL_MODELS}
    pooling = (
        registry._EMBEDDING_MODELS,
        registry._LATE_INTERACTION_MODELS,
        registry._REWARD_MODELS,
        registry._TOKEN_CLASSIFICATION_MODELS,
        registry._SEQUENCE_CLASSIFICATION_MODELS,
    )
    text = {*registry._TEXT_GENERATION_MODELS, *served} - multimodal
    return {
        "text": sorted(text),
        "multimodal": sorted(multimodal),
        "pooling": sorted({name for kind in pooling for name in kind} - text - multimodal),
        "draft": sorted(registry._SPECULATIVE_DECODING_MODELS),
        "removed": dict(registry._PREVIOUSLY_SUPPORTED_MODELS),
        "plugin": dict(registry._OOT_SUPPORTED_MODELS),
    }


def architectures() -> dict[str, Any]:
    """Return these names, and those of transformers' classes by whether vLLM's backend runs them."""
    found = registered()
    runnable = _of_transformers({*found["text"], *found["multimodal"], *found["pooling"], *found["plugin"]})
    removed = {name: last for name, last in found["removed"].items() if name not in runnable["transformers"]}
    runnable["refused"] = [name for name in runnable["refused"] if name not in removed]
    stages = {"no_pipeline": [name for name in (*found["text"], *found["multimodal"]) if pipelines(name) is False]}
    return found | {"removed": removed} | runnable | stages


def pipelines(name: str) -> bool | None:
    """Whether a class of vLLM's can be split into stages; None where it cannot be imported."""
    from vllm.model_executor.models import registry
    from vllm.model_executor.models.interfaces import supports_pp

    try:
        return bool(supports_pp(registry.ModelRegistry.models[name].load_model_cls()))
    except ImportError as error:  # a package for pictures or sounds
        print(f"{name}: taken to have stages ({' '.join(str(error).split())[:80]})")
        return None


def _of_transformers(known: set[str]) -> dict[str, list[str]]:
    """Names of transformers' classes that vLLM's backend can run, and of those it cannot."""
    import transformers

    found: dict[str, list[str]] = {"transformers": [], "refused": []}
    for name in dir(transformers):
        if name in known or not name.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")):
            continue
        if hasattr(cls := getattr(transformers, name), "is_backend_compatible"):
            runs = cls.is_backend_compatible() or cls._can_set_attn_implementation()
            found["transformers" if runs else "refused"].append(name)
    return found


def main() -> None:
    """Write the files anew."""
    from ask_vllm import _answer_as_a_gpu

    _answer_as_a_gpu()  # without packages for pictures, their classes are imported all the same
    from transformers import CONFIG_MAPPING
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    found = all_defaults(sorted({*CONFIG_MAPPING, *_CONFIG_REGISTRY}))
    _write(TARGET, {name: entry for name, entry in found.items() if _decodes(entry, found)})
    _write(ARCHITECTURES, architectures())


def _write(target: Path, entries: dict[str, Any]) -> None:
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    partial = target.with_suffix(".part")
    partial.write_text("{\n" + text + "\n}\n", "utf-8")
    partial.replace(target)
    print(f"{target.name}: {len(entries)} entries, {target.stat().st_size:,} bytes")


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
