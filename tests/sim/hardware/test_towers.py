"""Towers for images and sound, counted as vLLM builds them and divides them over ranks."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import ModelSpec, find_model

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}


def read(folder: Path, **config: Any) -> ModelSpec:
    (folder / "config.json").write_text(json.dumps(config))
    return find_model(folder)


def tower(model: ModelSpec, ranks: int = 1) -> int:
    """Numbers of the towers on one rank."""
    return sum(weight.bytes_per_rank(ranks) for weight in model.weights if weight.use == "tower") // 2


def gemma3(folder: Path, **more: Any) -> ModelSpec:
    text = {"model_type": "gemma3_text", **TEXT}
    config: dict[str, Any] = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3"}
    return read(folder, **config, text_config=text, vision_config=SIGLIP, **more)


# Two norms with biases; queries, keys, values and the output with biases; two matrices of an MLP with theirs.
BLOCK = 2 * 64 + 4 * (32 * 32 + 32) + (48 * 32 + 48) + (32 * 48 + 32)
OUTSIDE = 32 * 3 * 14 * 14 + 32 + 4 * 32 + 64  # patches, 2 x 2 positions, the last norm
PROJECTOR = 32 * 64 + 32


def test_siglip_and_the_projection_of_gemma_3_are_counted(tmp_path: Path) -> None:
    assert tower(gemma3(tmp_path)) == OUTSIDE + 3 * BLOCK + PROJECTOR


def test_ranks_divide_matrices_of_a_tower_but_not_the_biases_of_their_sums(tmp_path: Path) -> None:
    halved = 4 * 32 * 32 + 3 * 32 + 2 * 48 * 32 + 48
    assert tower(gemma3(tmp_path), 2) == OUTSIDE + PROJECTOR + 3 * (BLOCK - halved // 2)


def test_a_tower_takes_no_part_in_steps_of_text(tmp_path: Path) -> None:
    with_tower = gemma3(tmp_path)
    text = read(tmp_path, architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", **TEXT)
    assert with_tower.linear_params_per_rank(1) == text.linear_params_per_rank(1)
    assert with_tower.n_params - tower(with_tower) == text.n_params


def test_a_tower_that_the_file_leaves_out_is_the_classs(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", **TEXT}
    model = read(tmp_path, architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", text_config=text)
    block = 4 * 768 + 4 * (768 * 768 + 768) + (3072 * 768 + 3072) + (768 * 3072 + 768)
    assert tower(model) == 768 * 3 * 16 * 16 + 768 + 14 * 14 * 768 + 2 * 768 + 12 * block + 768 * 64 + 768


def test_the_class_for_text_loads_no_tower(tmp_path: Path) -> None:
    config = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **TEXT}, "vision_config": SIGLIP}
    model = read(tmp_path, architectures=["Gemma3ForCausalLM"], **config)
    assert (tower(model), model.notes) == (0, ())


@pytest.mark.parametrize(("layer", "layers"), [(-1, 3), (-2, 2), (1, 1), ([-2, 1], 2)])
def test_llava_takes_a_tower_up_to_the_layer_it_uses(tmp_path: Path, layer: Any, layers: int) -> None:
    text = {"model_type": "llama", **TEXT}
    model = read(
        tmp_path,
        architectures=["LlavaForConditionalGeneration"],
        model_type="llava",
        text_config=text,
        vision_config=SIGLIP,
        vision_feature_layer=layer,
    )
    seen = 32 * (len(layer) if isinstance(layer, list) else 1)
    projector = 64 * seen + 64 + 64 * 64 + 64
    assert tower(model) == OUTSIDE - 64 + layers * BLOCK + projector  # without the norm behind the last layer


def test_a_layer_that_a_tower_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vision_feature_layer is 4, expected a layer of the 3 that there are"):
        read(
            tmp_path,
            architectures=["LlavaForConditionalGeneration"],
            model_type="llava",
            text_config={"model_type": "llama", **TEXT},
            vision_config=SIGLIP,
            vision_feature_layer=4,
        )


QWEN3_VL: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "text_config": {"model_type": "qwen3_vl_text", **TEXT},
}
QWEN3_VISION = {
    "model_type": "qwen3_vl",
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "out_hidden_size": 64,
    "num_position_embeddings": 16,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


@pytest.mark.parametrize("indexes", [[], [0], [0, 1]])
def test_qwen3_vl_has_a_merger_for_each_layer_that_is_handed_on(tmp_path: Path, indexes: list[int]) -> None:
    model = read(tmp_path, **QWEN3_VL, vision_config={**QWEN3_VISION, "deepstack_visual_indexes": indexes})
    merger = (128 * 128 + 128) + (64 * 128 + 64)
    patches = 32 * 3 * 2 * 4 * 4 + 32
    whole = patches + 16 * 32 + 2 * BLOCK + 64 + merger
    assert tower(model) == whole + len(indexes) * (256 + merger)


def test_kimis_tower_is_divided_only_where_ranks_divide_its_heads(tmp_path: Path) -> None:
    vision = {
        "vt_hidden_size": 24,
        "vt_intermediate_size": 48,
        "vt_num_attention_heads": 6,
        "vt_num_hidden_layers": 1,
        "patch_size": 2,
        "init_pos_emb_height": 2,
        "init_pos_emb_width": 2,
    }
    text = {"model_type": "llama", **TEXT}
    model = read(
        tmp_path,
        architectures=["KimiK25ForConditionalGeneration"],
        model_type="kimi_k25",
        text_config=text,
        vision_config=vision,
    )
    assert tower(model, 4) == tower(model)
    halved = 4 * 24 * 24 + 3 * 24 + 2 * 24 * 48 + 48
    assert tower(model) - tower(model, 2) == halved // 2
    assert tower(model) == tower(model, 1)


def test_every_rank_holds_all_of_gemma_4s_towers(tmp_path: Path) -> None:
    vision = {
        "model_type": "gemma4_vision",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 8,
        "patch_size": 4,
        "position_embedding_size": 16,
    }
    text = {"model_type": "gemma4_text", **TEXT, "global_head_dim": 16, "hidden_size_per_layer_input": 0}
    model = read(
        tmp_path,
        architectures=["Gemma4ForConditionalGeneration"],
        model_type="gemma4",
        text_config=text,
        vision_config=vision,
        audio_config=None,
    )
    block = 4 * 32 * 32 + 3 * 48 * 32 + 4 * 32 + 2 * 8
    assert tower(model) == tower(model, 4) == 2 * 16 * 32 + 32 * 3 * 16 + 2 * block + 64 * 32


@pytest.mark.parametrize(
    ("model_type", "part"), [("never_seen", "vision_config"), ("granite_speech", "encoder_config"), ("llava", None)]
)
def test_a_tower_that_is_not_known_is_a_note(tmp_path: Path, model_type: str, part: str | None) -> None:
    vision = {"model_type": "never_seen_vision", "hidden_size": 32, "num_hidden_layers": 2}
    model = read(
        tmp_path,
        architectures=["LlavaForConditionalGeneration"],
        model_type=model_type,
        text_config={"model_type": "llama", **TEXT},
        **{part or "vision_config": vision},
    )
    assert model.n_params > 0
    assert tower(model) == 0
    assert model.notes == (
        f"the towers of {model_type!r} for images or sound are not counted: its weights take more than is said",
    )


def test_layers_that_attend_to_images_are_not_taken_for_others(tmp_path: Path) -> None:
    text = {"model_type": "mllama_text_model", **TEXT, "cross_attention_layers": [1]}
    model = read(tmp_path, architectures=["LlavaForConditionalGeneration"], model_type="mllama", text_config=text)
    assert model.unread is not None
    assert "'mllama' that attend to images are not known" in model.unread


CONFIGS = Path(__file__).parents[2] / "oracles/configs"
PARTS = ("vision_config", "audio_config", "img_processor")
FIELDS = [
    (path, part, name)
    for path in sorted(CONFIGS.glob("*/config.json"))
    for part, value in json.loads(path.read_text("utf-8")).items()
    if part in PARTS
    for name in value or ()
]
JUNK = ["x", -1, 0, 1.5, None, [], [1], ["x", "y"], {}, True, 10**12]


@given(field=st.sampled_from(FIELDS), junk=st.sampled_from(JUNK))
def test_a_malformed_field_of_a_tower_is_an_error_of_the_configuration(
    field: tuple[Path, str, str], junk: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, part, name = field
    config = json.loads(path.read_text("utf-8"))
    config[part][name] = junk
    folder = tmp_path_factory.mktemp("junk")
    with contextlib.suppress(ConfigError):
        assert read(folder, **config).source
