"""GPUs and models: what their data sheets and configurations say, and the KV cache that follows.

`gpus.toml` and `models.toml` are the catalogue, in which every number cites its source. Begin with `kv.py`, how much
cache fits, and `model_spec.py`, what a model is. `grouping.py` and `groups.py` mirror vLLM's KV cache groups, and
`tests/oracles` holds vLLM's own answers to compare with.
"""

from continuum_sim.hardware.dense import dense_model
from continuum_sim.hardware.gpus import GpuSpec, find_gpu, gpus
from continuum_sim.hardware.kv import KvMemory, kv_blocks, kv_bytes_per_token, kv_memory
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.models import find_model, models

__all__ = [
    "GpuSpec",
    "KvMemory",
    "ModelSpec",
    "dense_model",
    "find_gpu",
    "find_model",
    "gpus",
    "kv_blocks",
    "kv_bytes_per_token",
    "kv_memory",
    "models",
]
