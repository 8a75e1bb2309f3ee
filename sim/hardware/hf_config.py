"""Reading a Hugging Face `config.json` as a `ModelSpec`; what is not a plain dense decoder is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.readers import read_json

_MOST = 2**31
"""No dimension of a model comes near."""
_EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_OTHER_MIXERS = {
    "kv_lora_rank": "latent attention (MLA)",
    "linear_": "linear attention",
    "mamba_": "state-space layers",
    "ssm_": "state-space layers",
}
"""How fields of layers that are not plain attention begin."""
_UNGATED = {"falcon", "gpt_bigcode", "gpt_neox", "gptj", "mpt", "nemotron", "opt", "phi", "starcoder2"}
_TIED_BY_DEFAULT = {"gemma", "gemma2", "gemma3", "gemma3_text"}
_FOUR_NORMS = {"gemma2", "gemma3", "gemma3_text"}
_QK_NORM = {"gemma3", "gemma3_text", "qwen3"}


def read_hf_config(path: Path) -> ModelSpec:
    """Read the shapes of a dense decoder-only model, `text_config` of multimodal ones.

    A vision tower is left out of the parameter count. Weights of 16 bits are assumed unless the configuration says
    float32, which vLLM serves as bf16 too (`dtype="auto"`); quantised weights are refused.

    Raises
    ------
    ConfigError
        Naming the file, the field and what was expected.
    """
    return _Reader(path).spec()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        raw = read_json(path, finite=False)
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: expected a JSON object, as Hugging Face writes it")
        text = raw.get("text_config")
        # Fields of the outer configuration hold unless the nested one says otherwise.
        self.fields: dict[str, Any] = {**raw, **text} if isinstance(text, dict) else raw
        self.model_type = str(self.fields.get("model_type", ""))

    def spec(self) -> ModelSpec:
        self._refuse_what_is_not_modelled()
        n_layers, n_heads, hidden = (
            self._count(name) for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")
        )
        head_dim = self._count("head_dim", default=hidden // n_heads)
        window, n_sliding = self._sliding(n_layers)
        n_kv_heads = self._count("num_key_value_heads", default=n_heads)
        if n_heads % n_kv_heads:
            raise self._error("num_key_value_heads", n_kv_heads, f"a divisor of num_attention_heads ({n_heads})")
        return ModelSpec(
            name=self._name(),
            n_layers=n_layers,
            hidden=hidden,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            intermediate=self._count("intermediate_size"),
            vocab=self._count("vocab_size"),
            max_position_embeddings=self._count("max_position_embeddings"),
            source=f"Hugging Face configuration {self.path}",
            tied_embeddings=self._flag("tie_word_embeddings", default=self.model_type in _TIED_BY_DEFAULT),
            gated_mlp=self.model_type not in _UNGATED,
            qkv_bias=self._flag("attention_bias", default=self.model_type == "qwen2"),
            qk_norm=self.model_type in _QK_NORM,
            norms_per_layer=4 if self.model_type in _FOUR_NORMS else 2,
            sliding_window=window,
            n_sliding_layers=n_sliding,
        )

    def _name(self) -> str:
        known = self.fields.get("_name_or_path")
        return str(known) if known else self.path.resolve().parent.name or str(self.path)

    def _refuse_what_is_not_modelled(self) -> None:
        remedy = "use --step-time fitted:FILE with --kv-blocks, measured on the engine"
        for name in _EXPERT_FIELDS:
            if isinstance(self.fields.get(name), int) and self.fields[name] > 1:
                raise ConfigError(
                    f"{self.path}: {name} is {shown(self.fields[name])}: mixtures of experts are not modelled; {remedy}"
                )
        for prefix, what in _OTHER_MIXERS.items():
            for name, value in self.fields.items():
                if name.startswith(prefix) and value:
                    raise ConfigError(f"{self.path}: {name} is set: {what} is not modelled; {remedy}")
        kinds = set(self._layer_types() or ()) - {"full_attention", "sliding_attention"}
        if kinds:
            raise ConfigError(f"{self.path}: layer_types has {sorted(kinds)[0]!r}, which is not modelled; {remedy}")
        if self.fields.get("quantization_config") or self.path.with_name("hf_quant_config.json").exists():
            raise ConfigError(f"{self.path}: quantised weights are not modelled; {remedy}")

    def _sliding(self, n_layers: int) -> tuple[int | None, int]:
        if not self.fields.get("sliding_window") or self.fields.get("use_sliding_window") is False:
            return None, 0
        window = self._count("sliding_window")
        layer_types = self._layer_types()
        if layer_types is not None:
            if len(layer_types) < n_layers:
                raise self._error("layer_types", f"{len(layer_types)} long", f"{n_layers} entries, one a layer")
            return window, layer_types[:n_layers].count("sliding_attention")
        if "use_sliding_window" in self.fields:  # Qwen: the layers from max_window_layers on
            return window, max(0, n_layers - self._count("max_window_layers", default=n_layers))
        pattern = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6}.get(self.model_type, 0)
        pattern = self._count("sliding_window_pattern", default=pattern) if pattern else 0
        # Gemma: every pattern-th layer sees everything. Elsewhere (Mistral 7B v0.1, Phi-3) all layers slide.
        return window, n_layers - n_layers // pattern if pattern else n_layers

    def _layer_types(self) -> list[str] | None:
        kinds = self.fields.get("layer_types")
        return [str(kind) for kind in kinds] if isinstance(kinds, list) else None

    def _count(self, name: str, default: int | None = None) -> int:
        value = self.fields.get(name)
        if value is None:
            if default is None or default < 1:
                raise ConfigError(f"{self.path}: field {name!r} is missing, expected a positive whole number")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
            raise self._error(name, value, "a positive whole number of at most 2**31")
        return value

    def _flag(self, name: str, *, default: bool) -> bool:
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._error(name, value, "true or false")
        return value

    def _error(self, name: str, value: object, expected: str) -> ConfigError:
        return ConfigError(f"{self.path}: {name} is {shown(value)}, expected {expected}")
