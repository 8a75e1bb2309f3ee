"""GPUs and models, from data sheets and configurations, and the KV cache that follows from them."""

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
