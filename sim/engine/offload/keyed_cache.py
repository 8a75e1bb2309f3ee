"""vLLM's host memory of native KV offload where several KV cache groups share it, chunk by chunk.

It follows `CPUOffloadingManager` (`vllm/v1/kv_offload/cpu/manager.py`) call for call, `host_cache.py`
over runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.offload.config import EvictionPolicy
from continuum_sim.engine.offload.contents import Key
from continuum_sim.engine.offload.host_cache import HostMemory
from continuum_sim.engine.offload.keyed_policies import Chunk, KeyAccess, KeyedArc, KeyedLru


class KeyedCache(HostMemory):
    """Chunks in host memory with the transfers that use them, and an eviction policy."""

    def __init__(self, num_chunks: int, eviction_policy: EvictionPolicy, *, ranks_requests: bool) -> None:
        """Start empty; see `KeyedLru` for `ranks_requests`."""
        super().__init__(num_chunks)
        self._policy = KeyedArc(num_chunks) if eviction_policy == "arc" else KeyedLru(ranks_requests=ranks_requests)

    def get(self, key: Key) -> Chunk | None:
        """Return a chunk that is there, perhaps still being stored."""
        return self._policy.get(key)

    def prepare_load(self, access: KeyAccess, keys: Sequence[Key]) -> None:
        """Keep chunks that are there until they are loaded."""
        for key in keys:
            self._held(key).refs += 1
        self._record(access, keys, keys)

    def complete_load(self, keys: Sequence[Key]) -> None:
        """Let them be evicted again."""
        for key in keys:
            self._held(key).refs -= 1

    def prepare_store(self, access: KeyAccess, keys: Sequence[Key]) -> Sequence[Key] | None:
        """Make room for those of a request's chunks that are missing, and return them; None if there is no room.

        What is there already counts as used by the request, unless it is still being stored for another one.
        """
        missing, ready = [], []
        for key in keys:
            chunk = self._policy.get(key)
            if chunk is None:
                missing.append(key)
            elif chunk.refs >= 0:
                ready.append(key)
        unknown = [key for key in missing if key not in access.missed]
        if unknown:
            self._policy.missed(unknown)
            access.missed.update(unknown)
        counted = {*missing, *ready}
        self._record(access, [key for key in keys if key in counted], ready)
        lack = len(missing) - (self.num_blocks - self.used_blocks)
        if lack > 0:
            if not self._policy.evict(lack, set(keys)):
                return None
            self.used_blocks -= lack
            self.evicted_blocks += lack
        for key in missing:
            self._policy.insert(access, key, Chunk())
        access.inserted.update(missing)
        self.used_blocks += len(missing)
        self.peak_used_blocks = max(self.peak_used_blocks, self.used_blocks)
        return missing

    def complete_store(self, keys: Sequence[Key]) -> None:
        """Let chunks be read that have been stored."""
        for key in keys:
            self._held(key).refs = 0

    def request_finished(self, access: KeyAccess) -> None:
        """Count a request as one use of all that it accessed."""
        self._policy.finished(access)

    def _held(self, key: Key) -> Chunk:
        chunk = self._policy.get(key)
        assert chunk is not None, "what a transfer uses is not evicted"
        return chunk

    def _record(self, access: KeyAccess, keys: Sequence[Key], reused: Sequence[Key]) -> None:
        """Note what a request accesses (`_record_request_cache_access`)."""
        unseen = [key for key in keys if key not in access.seen]
        if unseen:
            access.seen.update(dict.fromkeys(unseen))
            self._policy.accessed(access, unseen)
        access.reused.update([key for key in reused if key not in access.inserted])
