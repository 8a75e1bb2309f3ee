"""Contexts that the policy recalls while their programs' tools still run."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.offload.tiers import Tiers
from continuum_sim.engine.request import Context, Upload
from continuum_sim.policies.views import ProgramView


class Uploads:
    """The uploads of one engine and their blocks: those of the context still cached, and room for the rest.

    Until an upload arrives its blocks are the target of a copy, so it holds them whatever the policy wants; then a pin
    takes them over. If its program's next turn is admitted earlier, the turn takes them over and waits for the rest.
    """

    def __init__(self, pool: BlockPool, tiers: Tiers, block_size: int) -> None:
        self._pool = pool
        self._tiers = tiers
        self._block_size = block_size
        self.under_way: dict[Upload, None] = {}

    def begin(self, program: ProgramView, context: Context, now_s: float) -> int | None:
        """Start bringing a context back; return its blocks (0 if nothing is left), or None if there is no room."""
        most = program.context_tokens // self._block_size
        hits = context.find(most)
        start = hits[-1][2] if hits else 0
        stop = self._tiers.held_stop(context, start, most, now_s)
        # Cached blocks without references still count as free.
        if stop - sum(end - at for run, at, end in hits if run.refs) > self._pool.free:
            return None
        if stop:
            upload = Upload(context, program, start, stop)
            for run, at, end in reversed(hits):
                self._pool.touch(run, at, end, upload.table)
            self._pool.allocate(stop - start)
            self._tiers.reload(upload, start, stop, now_s)
            self.under_way[upload] = None
            context.upload = upload
        return stop

    def keep_to(self, upload: Upload, stop: int) -> None:
        """Give up an upload's blocks from `stop` on, which the program's next prompt does not use."""
        if stop <= upload.start:
            self.drop(upload)
        elif stop < upload.stop:
            self._pool.release([], upload.stop - stop)
            upload.stop = stop

    def drop(self, upload: Upload) -> None:
        """Cancel an upload; what was still cached of its context stays so."""
        del self.under_way[upload]
        upload.context.upload = None
        self._pool.release(upload.table, upload.stop - upload.start)

    def take(self, upload: Upload) -> list[BlockRun]:
        """End an upload that has arrived or that a turn takes over; return its blocks with content."""
        del self.under_way[upload]
        upload.context.upload = None
        return upload.table
