"""Ask vLLM's own code what a configuration takes: `python ask_vllm.py FOLDER [--tensor-parallel-size 2]` prints JSON.

Runs on vLLM's CPU build, which must be the environment's, without weights: the model is built on the meta device, which
has shapes only. Where the CPU build would answer otherwise than a GPU's, it is told to answer as a GPU's:
* attention takes blocks of any multiple of 16 tokens, as FlashAttention does (the CPU's kernels: of 32);
* recurrent states keep the type that the configuration asks for;
* quantised weights and sparse attention are made whether or not the CPU has kernels for them;
* a configuration whose class is code beside the weights is taken as it is written;
* torchvision (images), CUTLASS and CUDA (kernels), which are not part of the CPU build, may be missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

DEFAULTS: dict[str, Any] = {
    "tensor_parallel_size": 1,
    "kv_bytes": 64 * 2**30,
    "max_num_batched_tokens": 8192,
    "block_size": 16,
    "kv_cache_dtype": "auto",
}
"""What a question leaves out."""


def ask(folder: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Return vLLM's answers for the `config.json` in a folder, or `{"error": ..., "at": ...}` where it cannot be built.

    To be called once in a process: it leaves vLLM's global state behind.
    """
    settings = DEFAULTS | question
    _answer_as_a_gpu()
    _know_its_type(folder)
    answer: dict[str, Any] = {"vllm": _version()}
    try:
        config = _engine_config(folder, settings)
    except Exception as error:
        return answer | {"error": _one_line(error), "at": "configuration"}
    answer |= _of_the_configuration(config)
    try:
        model = _built(config, settings["tensor_parallel_size"])
    except Exception as error:
        return answer | {"error": _one_line(error), "at": "model"}
    parameters = list(model.parameters())
    answer["params"] = sum(each.numel() for each in parameters)
    answer["weight_bytes"] = sum(each.numel() * each.element_size() for each in parameters)
    try:
        answer |= _kv_cache(config, settings)
    except Exception as error:
        return answer | {"error": _one_line(error), "at": "KV cache"}
    return answer


def _answer_as_a_gpu() -> None:
    for package in ("torchvision", "cutlass", "cuda"):
        if find_spec(package) is None:
            sys.meta_path.append(_Absent(package))
    import torch
    from vllm.model_executor.layers.fused_moe import config as moe
    from vllm.model_executor.models import registry
    from vllm.platforms.cpu import CpuPlatform
    from vllm.v1.attention.backend import MultipleOf
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend
    from vllm.v1.attention.backends.mla.amx_mla import AMXMLABackend

    # What only matters once tokens flow: events of a stream, a device, what is in a tensor of the meta device.
    torch.cuda.Event = torch.cuda.Stream = _Nothing
    torch.nn.Module.to = lambda self, *args, **kwargs: self
    torch.Tensor.item = lambda self: 0
    torch.Tensor.cpu = lambda self: self
    torch.Tensor.tolist = lambda self: [0] * len(self)
    torch.accelerator.current_device_index = torch.accelerator.empty_cache = lambda: 0
    torch.cpu._is_avx512_bf16_supported = lambda: False
    # With AMX the CPU build runs MLA as a GPU does: in chunks, with prefix caching, in blocks of any multiple.
    torch.cpu._is_amx_tile_supported = lambda: True
    for backend in (CPUAttentionBackend, AMXMLABackend):
        backend.get_supported_kernel_block_sizes = staticmethod(lambda kv_cache_spec=None: [MultipleOf(16)])
    dense = CpuPlatform.get_attn_backend_cls
    CpuPlatform.get_attn_backend_cls = classmethod(
        lambda cls, selected_backend, attn_selector_config, num_heads=None: (
            "vllm.v1.attention.backends.mla.flashmla_sparse.FlashMLASparseBackend"
            if attn_selector_config.use_sparse
            else dense(selected_backend, attn_selector_config, num_heads)
        )
    )
    # Experts without a gate are made for GPUs only, which is the last thing that is checked.
    check = moe.FusedMoEConfig.__post_init__

    def check_all_but_the_device(self: Any) -> None:
        try:
            check(self)
        except NotImplementedError:
            _let_any_kernel_do()

    moe.FusedMoEConfig.__post_init__ = check_all_but_the_device
    # vLLM looks at a model's class in a process of its own, for the sake of CUDA; here that would only take time.
    registry._LazyRegisteredModel.inspect_model_cls = lambda self: registry._ModelInfo.from_model_cls(
        self.load_model_cls()
    )


def _know_its_type(folder: Path) -> None:
    from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    fields = json.loads((folder / "config.json").read_text("utf-8"))
    if (model_type := fields["model_type"]) not in CONFIG_MAPPING and model_type not in _CONFIG_REGISTRY:
        spelled = {"attribute_map": {"num_hidden_layers": "num_layers"}} if "num_layers" in fields else {}
        known = type("RemoteConfig", (PretrainedConfig,), fields | spelled)
        AutoConfig.register(model_type, known)
        for name in ("text_config", "llm_config", "vision_config"):
            if isinstance(nested := fields.get(name), dict):
                setattr(
                    known, name, property(lambda self, nested=nested: PretrainedConfig(**nested), lambda *args: None)
                )
        if "block_configs" in fields:  # of DeciLM: objects with attributes
            known.__post_init__ = _blocks_as_objects(known.__post_init__)


class _Fields(dict):  # type: ignore[type-arg]
    """A JSON object whose fields are attributes too."""

    hidden_act = "silu"  # where the file is silent
    __getattr__ = dict.get


def _blocks_as_objects(initialise: Callable[..., None]) -> Callable[..., None]:
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.block_configs = json.loads(json.dumps(self.block_configs), object_hook=_Fields)

    return wrapped


def _let_any_kernel_do() -> None:
    from vllm.model_executor.kernels import linear
    from vllm.model_executor.layers.fused_moe import modular_kernel
    from vllm.model_executor.layers.quantization.utils import marlin_utils
    from vllm.platforms import PlatformEnum

    yes = classmethod(lambda cls, *args, **kwargs: (True, None))
    linear.is_supported_and_can_implement_kernel = lambda *args: (True, "")
    linear._POSSIBLE_NVFP4_KERNELS[PlatformEnum.CPU] = [linear.EmulationNvFp4LinearKernel]
    linear._POSSIBLE_MXFP4_KERNELS[PlatformEnum.CPU] = [linear.EmulationMxfp4LinearKernel]
    linear._POSSIBLE_MXFP8_KERNELS[PlatformEnum.CPU] = [linear.EmulationMxfp8LinearKernel]
    for name in dir(linear):
        if name.endswith("Kernel"):
            kernel = getattr(linear, name)
            kernel.is_supported = kernel.can_implement = yes
    marlin_utils._check_marlin_supported = lambda *args, **kwargs: (True, None)
    modular_kernel.FusedMoEExperts.is_supported_config = staticmethod(lambda *args, **kwargs: (True, None))


class _Anything(type):
    """What stands for any class, function or constant of a module that is not there."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Nothing(metaclass=_Anything):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class _Absent(MetaPathFinder, Loader):
    """Finds modules that hold nothing for a package that is not there: models import it, no size depends on it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] == self.package else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__version__"] = "0.28.0"
        module.__dict__["__getattr__"] = lambda name: getattr(_Nothing, name)


def _engine_config(folder: Path, settings: dict[str, Any]) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    arguments = EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        disable_log_stats=True,
        block_size=settings["block_size"],
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        max_num_seqs=min(256, settings["max_num_batched_tokens"]),
        kv_cache_dtype=settings["kv_cache_dtype"],
    )
    config = arguments.create_engine_config()
    config.cache_config.block_size = settings["block_size"]
    return config


def _of_the_configuration(config: Any) -> dict[str, Any]:
    model = config.model_config
    return {
        "architecture": model.architecture,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "max_model_len": model.max_model_len,
        "sliding_window": model.get_sliding_window(),
        "head_size": model.get_head_size(),
        "total_kv_heads": model.get_total_num_kv_heads(),
        "mla": bool(model.use_mla),
        "hybrid": bool(model.is_hybrid),
        "hybrid_manager_disabled": bool(config.scheduler_config.disable_hybrid_kv_cache_manager),
    }


def _built(config: Any, tensor_parallel_size: int) -> Any:
    import torch
    import vllm.distributed.parallel_state as parallel
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.v1.worker.workspace import init_workspace_manager

    # MiniMax-M3's experts have kernels for GPUs only.
    if config.model_config.quantization or config.model_config.architecture.startswith("MiniMaxM3"):
        _let_any_kernel_do()
    with set_current_vllm_config(config):
        store = Path(tempfile.mkdtemp()) / "store"
        parallel.init_distributed_environment(1, 0, f"file://{store}", 0, "gloo")
        parallel.initialize_model_parallel(1, 1)
        # Rank 0 of so many: the shapes need no other ranks.
        parallel.get_tp_group().world_size = tensor_parallel_size
        config.parallel_config.tensor_parallel_size = tensor_parallel_size
        init_workspace_manager(torch.device("cpu"))
        torch.set_default_dtype(config.model_config.dtype)
        with torch.device("meta"):
            return initialize_model(vllm_config=config)


def _kv_cache(config: Any, settings: dict[str, Any]) -> dict[str, Any]:
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.platforms import current_platform
    from vllm.v1.core.kv_cache_utils import get_kv_cache_capacity, get_kv_cache_configs

    answer: dict[str, Any] = {}
    with set_current_vllm_config(config):
        current_platform.update_block_size_for_backend(config)  # blocks as large as a recurrent layer's state
        answer["block_size"] = config.cache_config.block_size
        layers = config.compilation_config.static_forward_context.items()
        found = {
            name: layer.get_kv_cache_spec(config)
            for name, layer in layers
            if isinstance(layer, AttentionLayerBase) and not getattr(layer, "kv_sharing_target_layer_name", None)
        }
        specs = {name: spec for name, spec in found.items() if spec is not None}
        answer["layers"] = _counted("layers", map(_described, specs.values()))
        one_page = len({spec.page_size_bytes for spec in specs.values()}) == 1
        config.cache_config.kv_cache_layout = "LBNHC" if one_page else "BLNHC"
        # The answers are of the memory asked about, whether or not it holds one request of the greatest length.
        enough = get_kv_cache_configs(config, [dict(specs)], [2**50])[0]
        answer["groups"] = _counted(
            "groups",
            ({"layers": len(group.layer_names)} | _described(group.kv_cache_spec) for group in enough.kv_cache_groups),
        )
        try:
            cache = get_kv_cache_configs(config, [dict(specs)], [settings["kv_bytes"]])[0]
        except ValueError as error:
            return answer | {"too_little": _one_line(error)}
        answer["num_blocks"] = cache.num_blocks
        answer["capacity_tokens"], concurrency = get_kv_cache_capacity(config, cache)
        answer["concurrency"] = round(concurrency, 6)
    return answer


def _counted(what: str, described: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = Counter(map(json.dumps, described))
    return [{what: count} | json.loads(kind) for kind, count in kinds.items()]


def _described(spec: Any) -> dict[str, Any]:
    described = {"kind": type(spec).__name__, "block_size": spec.block_size, "page_bytes": spec.page_size_bytes}
    for name in ("num_kv_heads", "head_size", "head_size_v", "sliding_window", "attention_chunk_size"):
        if getattr(spec, name, None) is not None:
            described[name] = getattr(spec, name)
    if inner := getattr(spec, "kv_cache_specs", None):  # of layers that differ
        described["kinds"] = sorted({type(one).__name__ for one in inner.values()})
        windows = {getattr(one, "sliding_window", None) for one in inner.values()}
        described |= {"sliding_window": windows.pop()} if len(windows) == 1 and windows != {None} else {}
    if hasattr(spec, "dtype"):
        described["dtype"] = str(spec.dtype).removeprefix("torch.")
    if hasattr(spec, "shapes"):
        described["shapes"] = [list(shape) for shape in spec.shapes]
        described["dtypes"] = [str(dtype).removeprefix("torch.") for dtype in spec.dtypes]
    return described


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if not str(error) and (trace := traceback.extract_tb(error.__traceback__)):
        text += f"{trace[-1].line} ({Path(trace[-1].filename).name})"
    return text if len(text) <= 300 else text[:297] + "..."


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def main() -> None:
    """Answer one question on the command line."""
    parser = argparse.ArgumentParser(description=ask.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, value in DEFAULTS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    arguments = vars(parser.parse_args())
    print(json.dumps(ask(arguments.pop("folder"), arguments), indent=1))


if __name__ == "__main__":
    main()
