"""The modules that vLLM's quantisation methods are asked about, and the lists of names in checkpoints.

A checkpoint names `model.layers.3.self_attn.q_proj` where vLLM has one module for queries, keys and values, and a
multimodal model prefixes `model.language_model.` or `language_model.`: names and lists are normalised to one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Final, Literal

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.weights import BF16, Weight

ModuleKind = Literal["linear", "experts", "head", "table"]
"""vLLM's LinearBase, RoutedExperts, ParallelLMHead and VocabParallelEmbedding."""

_FUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
}
"""Modules of vLLM's models -> their parts in a checkpoint (`packed_modules_mapping`)."""

_NEVER: Final = frozenset(
    ("gate", "router", "shared_expert_gate", "conv1d", "weights_proj", "wk_weights_proj", "fused_wkv_wgate")
)
"""Modules that vLLM's models create without a method, whatever the checkpoint says."""

_NEVER_IN_TOWERS: Final = frozenset(
    (
        *("patch_embed", "patch_embedding", "patch_embedder", "pos_embed", "pos_emb", "embeddings", "conv1", "conv2"),
        *("positional_embedding_vlm", "norm", "mlp1", "mm_input_projection_weight"),
    )
)
"""Parts of names, in towers, of convolutions, tables and projections that take no method."""

_MIXER: Final = {".mamba.": ".mixer.", ".self_attn.": ".mixer.", ".mlp.": ".mixer."}
_HOLDERS: Final[Mapping[str, Mapping[str, str]]] = {"nemotron_h": _MIXER, "nemotron_h_puzzle": _MIXER}
"""Model type -> parts of our names -> their names in its checkpoints."""

_ROW_PARALLEL: Final = frozenset(("o_proj", "down_proj", "out_proj", "dense", "dense_4h_to_h", "c_proj", "fc2", "w2"))
"""Modules whose inputs tensor parallelism divides."""

_SPELLINGS: Final = (
    ("model.language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.layers.", "model.layers."),
    ("language_model.", ""),
    ("thinker.model.", "model."),
    ("thinker.", ""),
    ("backbone.", "model."),
    ("layers.", "model.layers."),
    ("model.lm_head", "lm_head"),
)
"""Prefix of a name -> its replacement here."""

_WILD: Final = frozenset("*?[")

_OF_TEXT: Final = frozenset(("layers", "embed_tokens", "norm"))
"""Modules inside `model.` of a language model; any others are towers, which some checkpoints also put there."""


@dataclass(frozen=True)
class Module:
    """One module of one layer."""

    name: str
    """vLLM's name: `model.layers.3.self_attn.qkv_proj`, `model.layers.3.mlp.experts`."""
    kind: ModuleKind
    shards: tuple[str, ...]
    """Its names in a checkpoint: the parts that vLLM fuses, the first expert's projections, or vLLM's own name."""
    splits: Literal["rows", "columns"] = "rows"
    """The dimension that tensor parallelism divides."""
    tower: str = ""
    """The first part of its name, if it plays no part in text."""

    @property
    def is_fused(self) -> bool:
        """Whether it consists of several modules of a checkpoint."""
        return self.kind != "experts" and len(self.shards) > 1


def modules_of(weights: Sequence[Weight], model_type: str) -> list[list[tuple[int | None, Module]]]:
    """Return every weight's module in each layer; nothing for a weight that is never quantised."""
    names = {weight.name for weight in weights}
    return [_modules(weight, names, _HOLDERS.get(model_type, {})) for weight in weights]


def split_of(weight: Weight) -> Literal["rows", "columns"]:
    """Return the dimension of a weight that tensor parallelism divides."""
    return "columns" if weight.name.rpartition(".")[2] in _ROW_PARALLEL else weight.split


def _modules(weight: Weight, names: set[str], holders: Mapping[str, str]) -> list[tuple[int | None, Module]]:
    parent, _, last = weight.name.rpartition(".")
    # What is kept exact in a model of any type is not a product to which a method could apply.
    if weight.use == "vector" or weight.columns == 1 or last in _NEVER or weight.stored != BF16:
        return []
    if weight.use == "tower" and not _NEVER_IN_TOWERS.isdisjoint(weight.name.split(".")):
        return []
    kinds: Mapping[str, ModuleKind] = {"expert": "experts", "head": "head", "table": "table"}
    kind = kinds.get(weight.use, "linear")
    name = weight.name
    shards: tuple[str, ...] = (weight.name,)
    if kind == "experts":
        name = parent if parent.endswith("experts") else weight.name
        shards = tuple(f"{name}.0.{each}" for each in _siblings(name, last, names))
    elif kind == "linear":
        for fused, parts in _FUSED.items():
            if last == fused or (last in parts and all(f"{parent}.{part}" in names for part in parts)):
                name, shards = f"{parent}.{fused}", tuple(f"{parent}.{part}" for part in parts)
    tower = one_spelling(weight.name).partition(".")[0] if weight.use == "tower" else ""
    found: list[tuple[int | None, Module]] = []
    for layer in weight.layers or (None,):
        at = [_named(each, layer, holders) for each in (name, *shards)]
        found.append((layer, Module(at[0], kind, tuple(at[1:]), split_of(weight), tower)))
    return found


def _named(name: str, layer: int | None, holders: Mapping[str, str]) -> str:
    named = one_spelling(name.replace("{}", str(layer)))
    for ours, theirs in holders.items():
        named = named.replace(ours, theirs)
    return named


def _siblings(experts: str, last: str, names: set[str]) -> Sequence[str]:
    found = sorted(each.rpartition(".")[2] for each in names if each.rpartition(".")[0] == experts)
    return found or [last]


def one_spelling(name: str) -> str:
    """Return a name, or a pattern of names, in the spelling used here."""
    for begins, instead in _SPELLINGS:
        if name.startswith(begins):
            return instead + name[len(begins) :]
    outer, _, rest = name.partition(".")
    is_tower = outer == "model" and rest and rest.partition(".")[0].rstrip("*") not in _OF_TEXT
    return rest if is_tower else name


class Listed:
    """A list of names and patterns, such as those that are not quantised."""

    def __init__(self, names: Iterable[str], *, where: str) -> None:
        self.names = [one_spelling(name) for name in names]
        self._exact = frozenset(self.names)
        self._where = where

    def exactly(self, name: str) -> bool:
        """Return whether a name is in the list."""
        return name in self._exact

    def partly(self, name: str) -> bool:
        """Return True if an entry is part of a name."""
        return any(each in name for each in self.names)

    def wildly(self, name: str) -> bool:
        """Return True if a name matches an entry with `*` and `?`."""
        return self._wild.match(name) is not None

    def by_pattern(self, name: str) -> bool:
        """Return True if a name is in the list, or matches an entry that begins with `re:`."""
        return name in self._exact or any(pattern.match(each) for pattern in self._patterns for each in spellings(name))

    def names_tower(self, tower: str) -> bool:
        """Return True if the list names a tower, or modules inside it."""
        return any(each.startswith(tower) for each in self.names) or self.by_pattern(f"{tower}.any")

    @cached_property
    def _wild(self) -> re.Pattern[str]:
        wild = [translate(each) for each in self.names if not _WILD.isdisjoint(each)]
        return re.compile("|".join(wild) or r"\Z.")

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [pattern_of(each, self._where) for each in self.names if each.startswith("re:")]


def pattern_of(text: str, where: str) -> re.Pattern[str]:
    """Compile a pattern, which may begin with `re:`.

    Raises
    ------
    ConfigError
        If it is not a valid pattern.
    """
    try:
        return re.compile(text.removeprefix("re:"))
    except re.error as error:
        raise ConfigError(f"{where}: {text!r} is not a regular expression ({error})") from None


def spellings(name: str) -> tuple[str, ...]:
    """Return a name in the spellings of different models, for patterns, which cannot be normalised."""
    rest = name.removeprefix("model.")
    if rest == name:
        return (name, f"model.{name}", f"language_model.{name}")
    return (name, f"language_model.{name}", f"language_model.{rest}", f"model.language_model.{rest}", rest)


def is_skipped(module: Module, listed: Listed, *, where: str, partly: bool = False) -> bool:
    """Return True if a list exempts a module, as in vLLM's `is_layer_skipped`.

    Raises
    ------
    ConfigError
        If it exempts only some parts of a fused module.
    """
    if module.tower and listed.names_tower(module.tower):
        return True
    matches = listed.partly if partly else listed.exactly
    if module.is_fused:
        return matches(module.name) or all_or_none(module, [matches(shard) for shard in module.shards], where)
    if "experts" in module.name and not partly:
        return any(module.name in each for each in listed.names if "experts" in each)
    return matches(module.name)


def all_or_none(module: Module, found: Sequence[bool], where: str) -> bool:
    """Return the value that all parts of a module share.

    Raises
    ------
    ConfigError
        If the parts differ.
    """
    if any(found) and not all(found):
        raise ConfigError(
            f"{where}: vLLM 0.32 refuses it: Detected some but not all shards of {module.name} are quantized. "
            "All shards of fused layers to have the same precision."
        )
    return all(found)
