"""Contexts on their way up while their programs' tools still run, because the policy asked for them."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool, BlockRun
from continuum_sim.engine.offload.tiers import Tiers
from continuum_sim.engine.request import Context, Upload
from continuum_sim.policies.views import ProgramView


class Uploads:
    """Blocks that uploads of one engine hold: what is still cached of a context, and room for what is to come.

    Until it has arrived an upload holds its blocks whatever the policy wants: they are the target of a copy. Then
    they are a pin's. If its program's turn is let in before, the turn takes the blocks over and waits for the rest.
    """

    def __init__(self, pool: BlockPool, tiers: Tiers, block_size: int) -> None:
        self._pool = pool
        self._tiers = tiers
        self._block_size = block_size
        self.under_way: dict[Upload, None] = {}

    def begin(self, program: ProgramView, context: Context, now_s: float) -> int | None:
        """Start to bring a context back; returns its blocks, of which there may be none, or None for lack of room."""
        most = program.context_tokens // self._block_size
        hits = context.find(most)
        start = hits[-1][2] if hits else 0
        stop = self._tiers.held_stop(context, start, most, now_s)
        # Cached blocks that nothing references are still counted as free.
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
        """Give up what an upload brings from block `stop` on: the program's next prompt does not hold it."""
        if stop <= upload.start:
            self.drop(upload)
        elif stop < upload.stop:
            self._pool.release([], upload.stop - stop)
            upload.stop = stop

    def drop(self, upload: Upload) -> None:
        """Give an upload up; what was cached anyway stays so."""
        del self.under_way[upload]
        upload.context.upload = None
        self._pool.release(upload.table, upload.stop - upload.start)

    def take(self, upload: Upload) -> list[BlockRun]:
        """End an upload that has arrived or that a turn takes over; returns the blocks it holds that have content."""
        del self.under_way[upload]
        upload.context.upload = None
        return upload.table
