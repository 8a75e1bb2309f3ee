"""How checkpoints store weights: each method by bytes worked by hand, and what vLLM 0.32 refuses.

The model has 2 layers of 589,824 numbers in 7 matrices, 256 wide:

    q, o 256 x 256; k, v 128 x 256; gate, up 512 x 256; down 256 x 512

beside tables and norms of 1,051,136 bytes in bf16.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.quantisation import quantised
from continuum_sim.hardware.hf.reader import read_model
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.weights import FP32, Weight

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 512,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
LAYER, DOWN, QKV = 589_824, 256 * 512, 2 * 256 * 256
NUMBERS, OUTPUTS, MATRICES = 2 * LAYER, 2 * 2048, 2 * 7
REST = 1_051_136


def read(tmp_path: Path, settings: Mapping[str, Any] | None, beside: object = None, **config: Any) -> ModelSpec:
    made = {**LLAMA, **config} | ({} if settings is None else {"quantization_config": settings})
    (tmp_path / "config.json").write_text(json.dumps(made))
    if beside is not None:
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside))
    return find_model(tmp_path)


def args(bits: int, kind: str, strategy: str, group: int | None = None, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": group, "symmetric": True} | more


def compressed(
    weights: Mapping[str, Any], form: str, inputs: object = None, ignore: tuple[str, ...] = ("lm_head",), **more: Any
) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "ignore": list(ignore),
        "config_groups": {"group_0": group},
    } | more


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
BLOCKS = {**FP8, "weight_block_size": [128, 128]}
BY_TOKEN = args(8, "float", "token", dynamic=True)
CHANNELS = compressed(args(8, "float", "channel"), "float-quantized", BY_TOKEN)
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP4 = args(4, "float", "tensor_group", 16)
W4A16 = compressed(args(4, "int", "group", 128), "pack-quantized")
AUTO_ROUND = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}
OPT = {"quant_method": "modelopt", "ignore": ["lm_head"], "producer": {"name": "modelopt"}}
MX8 = args(8, "float", "group", 32, scale_dtype="torch.uint8")
TENSOR = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False}
QUARK = {"quant_method": "quark", "export": {"kv_cache_group": []}, "exclude": ["lm_head"]}
GROUPS = NUMBERS // 128

STORED: dict[str, tuple[str, dict[str, Any], float]] = {
    "a scale for each tensor": ("fp8", FP8, NUMBERS + 4 * MATRICES),
    "one for its input too": ("fp8", {**FP8, "activation_scheme": "static"}, NUMBERS + 8 * MATRICES),
    "a scale for each block": ("fp8", BLOCKS, NUMBERS + 4 * 72),
    "blocks that are not square": ("fp8", {**FP8, "weight_block_size": [64, 256]}, NUMBERS + 4 * 72),
    "a scale for each output": ("compressed-tensors", CHANNELS, NUMBERS + 4 * OUTPUTS),
    "spelled with an underscore": (
        "compressed-tensors",
        {**CHANNELS, "quant_method": "compressed_tensors"},
        NUMBERS + 4 * OUTPUTS,
    ),
    "FP8 by tensor": (
        "compressed-tensors",
        compressed(args(8, "float", "tensor"), "float-quantized", args(8, "float", "tensor")),
        NUMBERS + 8 * MATRICES,
    ),
    "FP8 by block": (
        "compressed-tensors",
        compressed(args(8, "float", "block", block_structure=[128, 128]), "float-quantized", BY_TOKEN),
        NUMBERS + 4 * 72,
    ),
    "FP8 weights alone": (
        "compressed-tensors",
        compressed(args(8, "float", "channel"), "naive-quantized"),
        NUMBERS + 4 * OUTPUTS,
    ),
    "four bits": ("compressed-tensors", W4A16, NUMBERS / 2 + 2 * GROUPS),
    "four bits with zero points": (
        "compressed-tensors",
        compressed(args(4, "int", "group", 128, symmetric=False, actorder="weight"), "pack-quantized"),
        NUMBERS / 2 + 2.5 * GROUPS,
    ),
    "four bits by output": (
        "compressed-tensors",
        compressed(args(4, "int", "channel"), "pack-quantized"),
        NUMBERS / 2 + 2 * OUTPUTS,
    ),
    "eight bits by output": (
        "compressed-tensors",
        compressed(args(8, "int", "channel"), "pack-quantized"),
        NUMBERS + 2 * OUTPUTS,
    ),
    "integers by integers": (
        "compressed-tensors",
        compressed(args(8, "int", "channel"), "int-quantized", args(8, "int", "token", dynamic=True)),
        NUMBERS + 4 * OUTPUTS,
    ),
    "four bits by eight, packed": (
        "compressed-tensors",
        compressed(args(4, "int", "group", 128), "pack-quantized", args(8, "int", "token", dynamic=True)),
        NUMBERS / 2 + 2 * GROUPS,
    ),
    "four bits by eight, a byte each": (
        "compressed-tensors",
        compressed(args(4, "int", "group", 128), "int-quantized", args(8, "int", "token", dynamic=True)),
        NUMBERS + 2 * GROUPS,
    ),
    "four bits by FP8": (
        "compressed-tensors",
        compressed(args(4, "int", "group", 128), "pack-quantized", BY_TOKEN),
        NUMBERS / 2 + 2 * GROUPS,
    ),
    "NVFP4": (
        "compressed-tensors",
        compressed(FP4, "nvfp4-pack-quantized", FP4),
        NUMBERS / 2 + NUMBERS / 16 + 8 * MATRICES,
    ),
    "NVFP4 weights alone": (
        "compressed-tensors",
        compressed(FP4, "nvfp4-pack-quantized"),
        NUMBERS / 2 + NUMBERS / 16 + 4 * MATRICES,
    ),
    "MXFP4": (
        "compressed-tensors",
        compressed(args(4, "float", "group", 32), "mxfp4-pack-quantized"),
        NUMBERS / 2 + NUMBERS / 32,
    ),
    "MXFP8": ("compressed-tensors", compressed(MX8, "mxfp8-quantized", MX8), NUMBERS + NUMBERS / 32),
    "AWQ": ("auto_awq", AWQ, NUMBERS / 2 + 2.5 * GROUPS),
    "AWQ as it was spelled": (
        "auto_awq",
        {"quant_method": "AWQ", "w_bit": 4, "q_group_size": 64, "zero_point": False},
        NUMBERS / 2 + 2.5 * 2 * GROUPS,
    ),
    "GPTQ": ("auto_gptq", GPTQ, NUMBERS / 2 + 2.5 * GROUPS),
    "GPTQ of eight bits": ("auto_gptq", {**GPTQ, "bits": 8}, NUMBERS + 3 * GROUPS),
    "GPTQ by output": ("auto_gptq", {**GPTQ, "group_size": -1, "desc_act": True}, NUMBERS / 2 + 2.5 * OUTPUTS),
    "GPTQ with an exception": (
        "auto_gptq",
        {**GPTQ, "dynamic": {"-:.*down_proj": {}}},
        (NUMBERS - 2 * DOWN) * (1 / 2 + 2.5 / 128) + 4 * DOWN,
    ),
    "GPTQ with eight bits in a layer": (
        "auto_gptq",
        {**GPTQ, "dynamic": {r"+:.*\.1\..*": {"bits": 8, "group_size": 64}}},
        LAYER * (1 / 2 + 2.5 / 128) + LAYER * (1 + 3 / 64),
    ),
    "GPTQ of some modules": (
        "auto_gptq",
        {**GPTQ, "modules_in_block_to_quantize": [["mlp.down_proj"]]},
        2 * DOWN * (1 / 2 + 2.5 / 128) + 2 * (NUMBERS - 2 * DOWN),
    ),
    "AutoRound": ("inc", AUTO_ROUND, NUMBERS / 2 + 2.5 * GROUPS),
    "AutoRound with exceptions": (
        "inc",
        {**AUTO_ROUND, "extra_config": {"model.layers.0.mlp.down_proj": {"bits": 16}, "o_proj": {"bits": 8}}},
        (NUMBERS - DOWN - QKV) * (1 / 2 + 2.5 / 128) + 2 * DOWN + QKV * (1 + 3 / 128),
    ),
    "AutoRound of a block": (
        "inc",
        {**AUTO_ROUND, "block_name_to_quantize": "model.layers.0"},
        LAYER * (1 / 2 + 2.5 / 128) + 2 * LAYER,
    ),
    "AutoRound with patterns": (
        "inc",
        {**AUTO_ROUND, "extra_config": {".*[qkv]_proj": {"bits": 16}}},
        (NUMBERS - 2 * QKV) * (1 / 2 + 2.5 / 128) + 4 * QKV,
    ),
    "AutoRound in FP8": ("inc", {**AUTO_ROUND, "bits": 8, "group_size": [128, 128], "data_type": "fp8"}, NUMBERS + 288),
    "AutoRound in MXFP4": (
        "inc",
        {**AUTO_ROUND, "group_size": 32, "data_type": "mx_fp4"},
        NUMBERS / 2 + NUMBERS / 32,
    ),
    "ModelOpt FP8": ("modelopt", {**OPT, "quant_algo": "FP8"}, NUMBERS + 8 * MATRICES),
    "ModelOpt FP8 by output": (
        "modelopt",
        {**OPT, "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"},
        NUMBERS + 4 * OUTPUTS,
    ),
    "ModelOpt FP8 by block": ("modelopt", {**OPT, "quant_algo": "fp8_pb_wo"}, NUMBERS + 4 * 72),
    "ModelOpt NVFP4": (
        "modelopt_fp4",
        {**OPT, "quant_algo": "NVFP4"},
        NUMBERS / 2 + NUMBERS / 16 + 8 * MATRICES,
    ),
    "ModelOpt MXFP8": ("modelopt_mxfp8", {**OPT, "quant_algo": "MXFP8"}, NUMBERS + NUMBERS / 32),
    "MXFP8 as MiniMax names it": (
        "mxfp8",
        {"quant_method": "mxfp8", "ignored_layers": ["lm_head"]},
        NUMBERS + NUMBERS / 32,
    ),
    "ModelOpt by module": (
        "modelopt_mixed",
        {
            **OPT,
            "quant_algo": "MIXED_PRECISION",
            "quantized_layers": {
                "model.layers.0.mlp.down_proj": {"quant_algo": "NVFP4", "group_size": 16},
                **{f"model.layers.1.self_attn.{each}_proj": {"quant_algo": "FP8"} for each in "qkv"},
            },
        },
        2 * (NUMBERS - DOWN - QKV) + DOWN * (1 / 2 + 1 / 16) + 8 + QKV + 3 * 8,
    ),
    "Quark FP8": (
        "quark",
        {**QUARK, "global_quant_config": {"weight": TENSOR, "input_tensors": TENSOR}},
        NUMBERS + 112,
    ),
    "Quark with an exception": (
        "quark",
        {
            **QUARK,
            "global_quant_config": {"weight": {"dtype": "int4", "group_size": 128, "qscheme": "per_group"}},
            "layer_quant_config": {
                "*.0.mlp.down_proj": {"weight": TENSOR},
                "model.layers.1.mlp.down_proj": {"weight": TENSOR},
            },
        },
        (NUMBERS - 2 * DOWN) * (1 / 2 + 2.5 / 128) + 2 * DOWN + 2 * 4,
    ),
    "Quark FP8 with a KV cache of its own": (
        "quark",
        {
            **QUARK,
            "global_quant_config": {"weight": TENSOR, "input_tensors": TENSOR, "output_tensors": None},
            "layer_quant_config": {
                "*k_proj": {"weight": TENSOR, "input_tensors": TENSOR, "output_tensors": TENSOR},
                "*v_proj": {"weight": TENSOR, "input_tensors": TENSOR, "output_tensors": TENSOR},
            },
        },
        NUMBERS + 112,
    ),
    "Quark MXFP4": (
        "quark",
        {
            **QUARK,
            "global_quant_config": {
                "weight": {"dtype": "fp4", "group_size": 32, "qscheme": "per_group", "scale_format": "e8m0"}
            },
        },
        NUMBERS / 2 + NUMBERS / 32,
    ),
    "torchao": (
        "torchao",
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}}},
        NUMBERS + 4 * OUTPUTS,
    ),
    "MXFP4 of experts, of which there are none": ("mxfp4", {"quant_method": "mxfp4"}, 2 * NUMBERS),
}


@pytest.mark.parametrize("case", STORED)
def test_bytes_of_each_method(tmp_path: Path, case: str) -> None:
    name, settings, of_matrices = STORED[case]
    model = read(tmp_path, settings)
    assert model.quantization == name
    assert model.weight_bytes == REST + of_matrices
    assert model.n_params == NUMBERS + REST // 2


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({**BLOCKS, "modules_to_not_convert": ["model.layers.0.mlp.down_proj"]}, DOWN),
        ({**BLOCKS, "ignored_layers": ["model.layers.1.self_attn.qkv_proj"]}, QKV),
        ({**BLOCKS, "ignored_layers": [f"model.layers.1.self_attn.{each}_proj" for each in "qkv"]}, QKV),
        ({**BLOCKS, "ignored_layers": ["down_proj", "mlp"]}, 0),  # whole names only
        ({**CHANNELS, "ignore": ["model.layers.0.mlp.down_proj", "layers.1.mlp.down_proj"]}, 2 * DOWN),
        ({**CHANNELS, "ignore": ["re:.*down_proj", "re:down_proj"]}, 2 * DOWN),  # patterns match from the start
        ({**CHANNELS, "ignore": ["re:model.layers.0.*"]}, LAYER),
        ({**CHANNELS, "ignore": ["re:.*v_proj"]}, 2 * QKV),  # also matches qkv_proj
        ({**CHANNELS, "ignore": ["re:.*language_model.layers.0.*"]}, LAYER),
        ({**AWQ, "modules_to_not_convert": ["down_proj"]}, 2 * DOWN),
        ({**AWQ, "modules_to_not_convert": ["layers.0."]}, LAYER),
        ({**OPT, "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.0*"]}, LAYER),
        ({**OPT, "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.*.mlp.down_proj"]}, 2 * DOWN),
        ({**OPT, "quant_algo": "NVFP4", "ignore": ["lm_head", "mlp.down_proj*"]}, 2 * DOWN),  # part of a name will do
        ({**OPT, "quant_algo": "FP8", "ignore": ["lm_head", "model.language_model.layers.1.mlp.down_proj"]}, DOWN),
    ],
)
def test_what_a_list_leaves_as_it_is(tmp_path: Path, settings: dict[str, Any], left: int) -> None:
    model = read(tmp_path, settings)
    kept = sum(weight.n_params for weight in model.weights if weight.use == "linear" and weight.stored.name == "bf16")
    assert kept == left


@pytest.mark.parametrize("begins", ["language_model.model.", "model.language_model.", "model."])
def test_names_of_models_with_images(tmp_path: Path, begins: str) -> None:
    text = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    outer = {"model_type": "mistral3", "text_config": {**text, "model_type": "mistral"}, "tie_word_embeddings": False}
    settings = {**BLOCKS, "modules_to_not_convert": [f"{begins}layers.0.mlp.down_proj"]}
    (tmp_path / "config.json").write_text(json.dumps({**outer, "quantization_config": settings}))
    of_text = [weight for weight in find_model(tmp_path).weights if weight.use != "tower"]
    assert sum(weight.bytes_per_rank(1) for weight in of_text) == REST + NUMBERS - DOWN + 4 * (72 - 8) + 2 * DOWN


def test_two_groups_and_the_lm_head(tmp_path: Path) -> None:
    settings = compressed(args(4, "int", "group", 128), "pack-quantized", ignore=())
    settings["config_groups"]["group_1"] = {"targets": ["re:.*lm_head"], "weights": args(8, "int", "channel")}
    settings["config_groups"]["group_2"] = {
        "targets": ["re:.*self_attn.*"],
        "weights": args(8, "float", "channel"),
        "input_activations": BY_TOKEN,
        "format": "float-quantized",
    }
    attention = 2 * (3 * 65_536)
    head, table_and_norms = 1024 * 256 + 2 * 1024, 1024 * 256 * 2 + 2560
    expected = (NUMBERS - attention) * (1 / 2 + 2 / 128) + attention + 4 * 2 * 768 + head + table_and_norms
    assert read(tmp_path, settings).weight_bytes == expected


def test_the_lm_head_of_each_method(tmp_path: Path) -> None:
    """ModelOpt's is quantised unless it is excluded, FP8's never is, others' when they say so."""
    head = 1024 * 256
    expected = [
        ({**OPT, "quant_algo": "FP8", "ignore": []}, head),
        (FP8, 2 * head),
        ({**GPTQ, "lm_head": True}, head * (1 / 2 + 2.5 / 128)),
        ({**AWQ, "lm_head": True}, head * (1 / 2 + 2.5 / 128)),
    ]
    for settings, stored in expected:
        weights = read(tmp_path, settings).weights
        assert sum(each.bytes_per_rank(1) for each in weights if each.use == "head") == pytest.approx(stored, abs=8)


def test_ranks_share_numbers_and_not_all_scales(tmp_path: Path) -> None:
    """Down and o are divided by input: each rank keeps the scales of all their outputs."""
    model = read(tmp_path, CHANNELS)
    by_output, by_input = 2 * (256 + 128 + 128 + 512 + 512), 2 * (256 + 256)
    norms, tables = 2560, 2 * 1024 * 256 * 2
    assert model.weight_bytes_per_rank(Parallel(2)) == norms + (tables + NUMBERS + 4 * by_output) // 2 + 4 * by_input


@pytest.mark.parametrize(
    ("settings", "beside", "asked"),
    [
        ({**CHANNELS, "kv_cache_scheme": args(8, "float", "tensor")}, None, "fp8"),
        (CHANNELS, None, None),
        ({**FP8, "kv_cache_scheme": "static"}, None, None),
        (
            {**OPT, "quant_algo": "FP8", "kv_cache_scheme": {"type": "float", "num_bits": 8, "dynamic": False}},
            None,
            "fp8",
        ),
        ({**OPT, "quant_algo": "FP8", "kv_cache_scheme": {"type": "float", "num_bits": 8}}, None, None),
        ({**OPT, "quant_algo": "NVFP4", "kv_cache_quant_algo": "NVFP4"}, None, "nvfp4"),
        (None, {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}, "fp8"),
        (None, {"quant_algo": "FP8", "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"]}, None),
    ],
)
def test_the_kv_cache_a_checkpoint_asks_for(tmp_path: Path, settings: Any, beside: Any, asked: str | None) -> None:
    file = None if beside is None else {"producer": {"name": "modelopt"}, "quantization": beside}
    assert read(tmp_path, settings, file).kv_scheme == asked


def test_where_settings_are_found(tmp_path: Path) -> None:
    """`quantization_config` wins over the file beside it, that over `compression_config`, all over the inner ones."""
    legacy = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None, "exclude_modules": ["lm_head"]},
    }
    assert read(tmp_path, None, compression_config=W4A16).quantization == "compressed-tensors"
    assert read(tmp_path, None, legacy, compression_config=W4A16).quantization == "modelopt"
    assert read(tmp_path, AWQ, legacy).quantization == "auto_awq"
    assert read(tmp_path, None, text_config={**LLAMA, "quantization_config": BLOCKS}).quantization == "modelopt"
    (tmp_path / "hf_quant_config.json").unlink()
    assert read(tmp_path, None, text_config={**LLAMA, "quantization_config": BLOCKS}).quantization == "fp8"


def test_modules_listed_in_the_file_beside(tmp_path: Path) -> None:
    """Older files of ModelOpt keep the list of a mixture there, in either spelling."""
    settings = {**OPT, "quant_algo": "MIXED_PRECISION", "group_size": None}
    layers = {"model.layers.0.mlp.down_proj": {"quant_algo": "FP8"}}
    for beside in ({"quantized_layers": layers, "ignore": []}, {"quantization": {"quantized_layers": layers}}):
        assert read(tmp_path, settings, beside).weight_bytes == REST + 2 * NUMBERS - DOWN + 8
    (tmp_path / "hf_quant_config.json").unlink()
    with pytest.raises(ConfigError, match="Cannot find the config file for modelopt_mixed"):
        read(tmp_path, settings)


@pytest.mark.parametrize(
    ("inner", "settings", "is_said"),
    [(512, W4A16, False), (576, W4A16, False), (544, W4A16, True), (544, CHANNELS, False)],
)
def test_what_does_not_fit_marlins_tiles_is_said(tmp_path: Path, inner: int, settings: Any, is_said: bool) -> None:
    """Down with 576 inputs has 256 outputs, so 64 at a time will do; gate and up have 576 outputs, 9 times 64."""
    notes = read(tmp_path, settings, intermediate_size=inner).notes
    assert ("Marlin" in " ".join(notes)) is is_said


def test_without_a_method_weights_stay_as_they_are(tmp_path: Path) -> None:
    """So vLLM reads such a file; the run says it."""
    model = read(tmp_path, {"activation_scheme": "dynamic", "weight_block_size": [128, 128]})
    assert (model.quantization, model.weight_bytes) == (None, REST + 2 * NUMBERS)
    assert any("no quant_method" in note for note in model.notes)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"quant_method": "bitsandbytes"}, "Unknown quantization method: bitsandbytes"),
    ({"quant_method": "gguf"}, "Unknown quantization method: gguf"),
    ({"quant_method": "fp8"}, r"Cannot find any of \['activation_scheme'\]"),
    ({**FP8, "activation_scheme": "none"}, "Unsupported activation scheme none"),
    ({**BLOCKS, "activation_scheme": "static"}, "only supports dynamic activation scheme"),
    ({**BLOCKS, "weight_block_size": [128]}, "must have 2 dimensions"),
    ({**BLOCKS, "weight_block_size": "128x128"}, "weight_block_size is '128x128', expected two positive"),
    ({**BLOCKS, "modules_to_not_convert": ["model.layers.0.self_attn.v_proj"]}, "some but not all shards of"),
    ({**BLOCKS, "modules_to_not_convert": "lm_head"}, "expected a list of module names"),
    ({**AWQ, "bits": 8}, "Unsupported num_bits = 8"),
    ({**GPTQ, "bits": 3}, "bits=3, sym=True"),
    ({**GPTQ, "sym": False}, "bits=4, sym=False"),
    ({**GPTQ, "desc_act": True}, "desc_act=True"),
    ({**GPTQ, "dynamic": {"+:(": {}}}, "not a regular expression"),
    ({**CHANNELS, "ignore": [r"re:.*\.v_proj"]}, "some but not all shards of"),
    ({**CHANNELS, "ignore": ["re:("]}, "not a regular expression"),
    ({**W4A16, "format": "marlin-24"}, "No compressed-tensors compatible scheme was found for model.layers.0"),
    ({**W4A16, "sparsity_config": {"targets": ["Linear"]}}, "Sparsity support has been removed"),
    (compressed(args(4, "int", "group", 128, actorder="group"), "pack-quantized"), "actorder='group'"),
    (compressed(args(4, "int", "group"), "pack-quantized"), "requires group_size"),
    (compressed(FP4, "nvfp4-pack-quantized", args(8, "float", "tensor")), "No compressed-tensors compatible scheme"),
    ({**CHANNELS, "kv_cache_scheme": args(8, "int", "tensor")}, "num_bits=8, type=float"),
    ({**OPT, "quant_algo": "W4A8_AWQ"}, "ModelOpt currently only supports"),
    ({**OPT, "quant_algo": None}, "Missing 'quant_algo'"),
    ({**OPT, "quant_algo": "MIXED_PRECISION", "quantized_layers": {}}, "non-empty 'quantized_layers'"),
    ({**OPT, "quantization": {"quant_algo": "MXFP8"}}, "Unknown ModelOpt quant algo: MXFP8"),
    ({**OPT, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}, "requires the following fields"),
    ({**AUTO_ROUND, "extra_config": {"model.layers.0.self_attn.q_proj": {"bits": 8}}}, "requires consistent quant"),
    ({**AUTO_ROUND, "bits": 9}, "Unsupported weight_bits: 9"),
    ({"quant_method": "quark"}, "The export key should be included"),
    ({"quant_method": "torchao", "quant_type": "int8wo"}, "expected an object"),
    (
        {**QUARK, "global_quant_config": {"weight": TENSOR}, "layer_quant_config": {"*v_proj": {"weight": "fp4"}}},
        "Found a different quantization configuration",
    ),
    ({**QUARK, "global_quant_config": {"weight": "fp8"}}, "weight is 'fp8', expected an object"),
]


@pytest.mark.parametrize(("settings", "why"), REFUSED)
def test_what_vllm_refuses(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        read(tmp_path, settings)
    assert str(refused.value).startswith(str(tmp_path / "config.json"))
    assert "\n" not in str(refused.value)


JUNK = [None, "x", "", [], {}, -1, 0, 1.5, True, [1], ["re:("], [None], {"a": 1}, 10**12, [[1]]]


@given(st.data())
def test_whatever_a_setting_is_it_is_read_or_refused(data: st.DataObject) -> None:
    made = json.loads(json.dumps(data.draw(st.sampled_from([case[1] for case in STORED.values()]))))
    holder: Any = made
    while True:
        name = data.draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        inner = holder[name]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        holder = inner
    holder[name] = data.draw(st.sampled_from(JUNK))
    fields = Fields(Path("config.json"), {**LLAMA, "quantization_config": made})
    with suppress(ConfigError):
        model = read_model(fields, name="made")
        assert model.unread or model.weight_bytes > REST


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, "--allow-deprecated-quantization"),
        ({"quant_method": "humming"}, "humming are not known"),
        (
            {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {}}}},
            "Int4WeightOnlyConfig",
        ),
    ],
)
def test_what_leaves_the_bytes_open(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    """A run with measured step times and blocks needs no weights."""
    model = read(tmp_path, settings)
    assert why in str(model.unread)
    assert model.caches


def experts(inner: int, hidden: int, count: int) -> list[Weight]:
    at = "model.layers.{}.mlp.experts."
    ups = [
        Weight(f"{at}{each}", inner, hidden, (0, 1), count, inner, use="expert") for each in ("gate_proj", "up_proj")
    ]
    down = Weight(f"{at}down_proj", hidden, inner, (0, 1), count, inner, use="expert")
    return [*ups, down, Weight("model.layers.{}.mlp.gate", count, hidden, (0, 1))]


def stored(settings: dict[str, Any], weights: list[Weight], ranks: int = 1, model_type: str = "qwen3_moe") -> int:
    outer = Fields(Path("config.json"), {"model_type": model_type, "quantization_config": settings})
    return sum(weight.bytes_per_rank(ranks) for weight in quantised(outer, weights).weights if weight.use == "expert")


def test_experts_of_gpt_oss_are_filled_up() -> None:
    """2,880 wide: 2,944 by 3,072 in the kernels, on each of 4 ranks 768."""
    made = experts(2880, 2880, 32)
    settings = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.mlp.router"]}
    per_byte = 1 / 2 + 1 / 32
    assert stored(settings, made, 1, "gpt_oss") == 2 * 32 * 3 * 2944 * 3072 * per_byte
    assert stored(settings, made, 4, "gpt_oss") == 2 * 32 * 3 * 768 * 3072 * per_byte
    outer = Fields(Path("config.json"), {"model_type": "gpt_oss", "quantization_config": settings})
    assert "filled up" in quantised(outer, made).notes[0]


NUMBERS_OF_EXPERTS = 2 * 8 * 3 * 256 * 512


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (BLOCKS, NUMBERS_OF_EXPERTS * (1 + 4 / 16_384)),
        ({**BLOCKS, "ignored_layers": ["model.layers.1.mlp.experts.0.up_proj"]}, NUMBERS_OF_EXPERTS * 1.5 + 24 * 32),
        (FP8, NUMBERS_OF_EXPERTS + 48 * 4),
        (W4A16, NUMBERS_OF_EXPERTS * (1 / 2 + 2 / 128)),
        ({**W4A16, "ignore": ["re:.*mlp.experts.*"]}, NUMBERS_OF_EXPERTS * 2),
        ({**W4A16, "ignore": ["re:.*mlp.(gate|up|down)_proj.*"]}, NUMBERS_OF_EXPERTS * (1 / 2 + 2 / 128)),
        (GPTQ, NUMBERS_OF_EXPERTS * (1 / 2 + 2.5 / 128)),
        ({**GPTQ, "dynamic": {"-:.*experts.*": {}}}, NUMBERS_OF_EXPERTS * 2),
        ({**AWQ, "modules_to_not_convert": ["mlp.gate"]}, NUMBERS_OF_EXPERTS * (1 / 2 + 2.5 / 128)),
        ({**OPT, "quant_algo": "NVFP4", "ignore": ["model.layers.*.mlp.gate"]}, NUMBERS_OF_EXPERTS * 9 / 16 + 48 * 8),
        ({**OPT, "quant_algo": "NVFP4", "ignore": ["model.layers.0.mlp*"]}, NUMBERS_OF_EXPERTS * 41 / 32 + 24 * 8),
    ],
)
def test_experts(settings: dict[str, Any], expected: float) -> None:
    assert stored(settings, experts(256, 512, 8)) == expected


def test_experts_of_which_some_projections_are_left_out() -> None:
    with pytest.raises(ConfigError, match="All MoE projections need to have same quantization scheme"):
        stored({**W4A16, "ignore": ["re:.*up_proj"]}, experts(256, 512, 8))


@pytest.mark.parametrize(
    ("method", "listed", "stored_as"),
    [
        (CHANNELS, ["re:.*vision_tower.*"], "bf16"),
        (CHANNELS, [], "fp8"),
        ({**OPT, "quant_algo": "FP8"}, [], "bf16"),  # whatever is listed
        ({**OPT, "quant_algo": "FP8"}, ["model.visual*"], "bf16"),
        (BLOCKS, ["model.visual.blocks.0.attn.qkv"], "bf16"),
        (AWQ, [], "bf16"),  # as their files have it
        (GPTQ, [], "bf16"),
    ],
)
def test_towers(method: dict[str, Any], listed: list[str], stored_as: str) -> None:
    """A list that speaks of a tower means all of it."""
    root = "visual" if any("visual" in each for each in listed) else "vision_tower"
    tower = Weight(f"{root}.blocks.{{}}.qkv", 256, 128, (0, 1), use="tower")
    settings = {**method, "ignore": listed, "modules_to_not_convert": listed}
    outer = Fields(Path("config.json"), {"model_type": "x", "quantization_config": settings})
    assert [weight.stored.name for weight in quantised(outer, [tower]).weights] == [stored_as]


@pytest.mark.parametrize(("kind", "stored_as"), [("mistral3", "fp8"), ("llama4", "bf16"), ("gemma4", "fp8")])
def test_towers_that_classes_make_without_a_method(kind: str, stored_as: str) -> None:
    tower = Weight("vision_tower.blocks.{}.qkv", 256, 128, (0, 1), use="tower")
    for method, found in ((CHANNELS, stored_as), (FP8, "fp8" if kind == "mistral3" else "bf16")):
        outer = Fields(Path("config.json"), {"model_type": kind, "quantization_config": {**method, "ignore": []}})
        assert [weight.stored.name for weight in quantised(outer, [tower]).weights] == [found]


def test_what_is_no_product_stays_as_it_is(tmp_path: Path) -> None:
    """Biases, routers, and what vLLM keeps exact in a model of any type."""
    whole = [
        Weight("model.layers.{}.self_attn.q_proj.bias", 256, layers=(0,)),
        Weight("model.layers.{}.mlp.gate", 8, 256, (0,)),
        Weight("model.layers.{}.mamba.A", 512, 16, (0,), stored=FP32),
    ]
    outer = Fields(Path("config.json"), {"model_type": "x", "quantization_config": {**CHANNELS, "ignore": []}})
    assert list(quantised(outer, whole).weights) == whole
    biased = read(tmp_path, CHANNELS, attention_bias=True, model_type="llama")
    assert all(weight.stored.name == "bf16" for weight in biased.weights if weight.columns == 1)


def test_latent_attention_does_not_heed_a_scheme_for_keys_and_values() -> None:
    settings = {**CHANNELS, "kv_cache_scheme": args(8, "float", "tensor")}
    outer = Fields(Path("config.json"), {"model_type": "deepseek_v3", "quantization_config": settings})
    for name, asked in (("kv_b_proj", None), ("k_proj", "fp8")):
        weights = [Weight(f"model.layers.{{}}.self_attn.{name}", 256, 256, (0,))]
        assert quantised(outer, weights).kv_scheme == asked


def test_names_of_layers_that_hold_one_thing_each() -> None:
    """Nemotron-H's checkpoints call all of them mixers."""
    weights = [
        Weight("model.layers.{}.mamba.in_proj", 1024, 256, (0, 2)),
        Weight("model.layers.{}.mamba.conv1d", 512, 4, (0, 2)),
        *(Weight(f"model.layers.{{}}.self_attn.{each}_proj", 256, 256, (1,)) for each in "qkv"),
    ]
    ignored = ["backbone.layers.0.mixer.in_proj", *(f"backbone.layers.1.mixer.{each}_proj" for each in "qkv")]
    settings = {**OPT, "quant_algo": "FP8", "ignore": ignored}
    outer = Fields(Path("config.json"), {"model_type": "nemotron_h", "quantization_config": settings})
    found = [weight for weight in quantised(outer, weights).weights if weight.stored.name == "fp8"]
    assert [(weight.name, weight.layers) for weight in found] == [("model.layers.{}.mamba.in_proj", (2,))]


def test_deepseek_v4_keeps_experts_in_mxfp4() -> None:
    made = experts(256, 512, 8)
    outer = Fields(Path("config.json"), {"model_type": "deepseek_v4", "quantization_config": BLOCKS})
    linear = Weight("layers.{}.attn.wq_a", 1024, 512, (0, 1))
    found = {weight.name.rpartition(".")[2]: weight.stored for weight in quantised(outer, [*made, linear]).weights}
    assert (found["down_proj"].name, found["wq_a"].name, found["wq_a"].scale_bits) == ("mxfp4", "fp8", 8)
    of_base = {"model_type": "deepseek_v4", "expert_dtype": "fp8", "quantization_config": BLOCKS}
    assert {each.stored.name for each in quantised(Fields(Path("config.json"), of_base), made[:3]).weights} == {"fp8"}
