"""The blocks that turns hold in several KV cache groups (vLLM's `KVCacheManager` with its hybrid coordinator)."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.chain import BlockRun, Chain
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.boundaries import BlockBoundaries
from continuum_sim.engine.groups.found import Found, SeesBlocks
from continuum_sim.engine.groups.lookup import Alike, Content
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.spec import GroupSpec, last_reusable
from continuum_sim.engine.groups.steps import GroupedContext, SteppedKVCacheManager
from continuum_sim.engine.groups.table import BandTable, StateTable
from continuum_sim.engine.request import Context, Hits, Request


class GroupedKVCacheManager(SteppedKVCacheManager):
    """Allocates blocks of every group to turns."""

    def __init__(self, pool: GroupedBlockPool, config: EngineConfig) -> None:
        super().__init__(pool, config)
        alignment = self._alignment
        self.offloads: SeesBlocks | None = None
        """Native offload, if it is to hear of blocks that are hit and freed."""
        self.cached_states: list[tuple[Request, int, int]] | None = None
        """Collects the states that become findable (turn, group, block), if native offload asks."""
        members: dict[GroupSpec, list[int]] = {}
        for number, band in enumerate(self.bands):
            members.setdefault(band.spec, []).append(number)
        self._alike = [Alike(spec, numbers, alignment) for spec, numbers in members.items()]
        self._alike.sort(key=lambda alike: alike.spec.kind != "full")
        self._once = len(self._alike) == 2 and self._alike[0].spec.kind == "full"
        self._shared_parts: dict[str, list[Chain]] = {}
        self._junctions: dict[Request, int] = {}
        """Where prompts part, of each turn in the batch; see `Found`."""
        self._latest = Found([], [], 0, 0)
        """What the latest look-up found: a turn is admitted, if at all, right after it."""
        self._sought: Request
        """The turn of that look-up."""
        specs = self.specs
        recurrent = any(spec.kind == "recurrent" for spec in specs)
        self._boundaries = BlockBoundaries(config) if recurrent and self._caches else None
        self.cuts_prompts = self._boundaries is not None
        self._states_to_come: set[tuple[Chain, int]] = set()
        """States (content, block) that only the step being planned computes (`cached_blocks_this_step`)."""
        self._defers_again = config.vllm_version == "0.32" and self.cuts_prompts and len(specs) > 1
        """Whether a turn that still holds the state at the end of its prompt counts as computing it in every step."""

    # Contexts -------------------------------------------------------------------------------------------

    def open_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return an empty context that begins with a shared prefix."""
        chains: Sequence[Chain | None] = [None] * len(self.bands)
        if prefix_id is not None:
            chains = self._shared_parts.setdefault(prefix_id, [band.open_chain() for band in self.bands])
        return self._context(chains, prefix_tokens)

    def seen_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return the context that a program would get, without opening one."""
        chains: Sequence[Chain | None] = self._shared_parts.get(prefix_id or "") or [None] * len(self.bands)
        return self._context(chains, prefix_tokens)

    def _context(self, chains: Sequence[Chain | None], prefix_tokens: int) -> GroupedContext:
        return GroupedContext(
            [
                Content(chain, prefix_tokens // band.spec.block_size, band.open_chain())
                for band, chain in zip(self.bands, chains, strict=True)
            ]
        )

    def keep_to(self, context: Context, kept_tokens: int) -> None:
        """Forget a program's own content beyond its first tokens."""
        for band, content in zip(self.bands, self._contents(context), strict=True):
            kept = kept_tokens // band.spec.block_size
            self.pool.abandon(content.own, kept)
            content.shared_blocks = min(content.shared_blocks, kept)

    # Hits -----------------------------------------------------------------------------------------------

    def get_computed_blocks(self, request: Request) -> tuple[Hits, int]:
        """Return the longest prefix that all groups have cached and its tokens; the last token is always computed."""
        self._sought = request
        self._latest = found = self._find(request.context, request.num_tokens - 1)
        return found.stretches(), found.tokens

    def found_again(self, hits: Hits) -> Hits:
        """Return the hits, just looked up, once more, after a broken pin's blocks have been freed."""
        self._latest.find_again(self._contents(self._sought.context), self.pool)
        return self._latest.stretches()

    def cached_tokens(self, context: Context, most_tokens: int) -> int:
        """Return the tokens of the longest hit of at most so many."""
        return self._longest_hit(self._contents(context), most_tokens)[1]

    def _find(self, context: Context, most_tokens: int) -> Found:
        contents = self._contents(context)
        spans, tokens, longest = self._longest_hit(contents, most_tokens)
        by_band = [
            content.find(start, stop, self.pool) if start < stop else []
            for content, (start, stop) in zip(contents, spans, strict=True)
        ]
        return Found(by_band, [stop for _, stop in spans], tokens, longest if longest > tokens else 0)

    def _longest_hit(self, contents: Sequence[Content], most_tokens: int) -> tuple[list[tuple[int, int]], int, int]:
        """Return the blocks in each band's groups, the tokens of the hit, and those of the longest that some band has.

        Blocks are those from the first that the next token attends to, until the last that need not be computed.
        """
        spans: list[tuple[int, int]] = [(0, 0)] * len(self.bands)
        if not self._caches:
            return spans, 0, 0
        agreed, longest = most_tokens, 0
        while True:
            tokens = agreed
            for alike in self._alike:
                size, known = alike.spec.block_size, spans[alike.members[0]][1]
                if alike.spec.kind == "full" and known:  # what is shorter is cached too
                    tokens = min(tokens, known * size)
                    continue
                found = alike.hit(contents, tokens)
                tokens = found[1] * size
                for member in alike.members:
                    spans[member] = found
                longest = max(longest, tokens)
            if tokens >= agreed:
                break
            agreed = tokens
            if self._once:
                break
        return self._needed(spans, agreed), agreed, longest

    def _needed(self, spans: list[tuple[int, int]], tokens: int) -> list[tuple[int, int]]:
        """Return what a hit of so many tokens takes of what each band's groups have."""
        for number, band in enumerate(self.bands):
            spec = band.spec
            start, stop = (0, -(-tokens // spec.block_size)) if spec.kind == "full" else spans[number]
            spans[number] = (max(start, spec.skipped_blocks(tokens)), stop)
        return spans

    def _contents(self, context: Context) -> Sequence[Content]:
        assert isinstance(context, GroupedContext)
        if context.sliding is not None:
            self._stop(context.sliding)
        return context.contents

    @property
    def latest_junction_tokens(self) -> int:
        """Tokens that some group had cached as of the latest look-up, if another had fewer; otherwise 0."""
        return self._latest.junction_tokens

    def with_loaded(self, hits: Hits, tokens: int) -> Hits:
        """Let what was just looked up be followed by loads up to so many tokens; return the hits to be counted.

        vLLM reckons with the state that a hit ends with although what is loaded takes its place.
        """
        self._latest = loaded = self._latest.followed_by_loads(self.bands, tokens)
        return loaded.stretches()

    # Room -----------------------------------------------------------------------------------------------

    def room_for(self, hits: Hits, whole_tokens: int, step_tokens: int, *, surely: bool = False) -> int:
        """Return the free blocks that admission takes: for the whole turn, or for its first step if those are more.

        Of the whole turn windows hold a part at a time, so vLLM checks both. It takes hits that lie behind the window
        for blocks that a turn need not allocate; `surely` leaves these out.
        """
        needed = hit = sum([(stop - start) * run.width for run, start, stop in hits if not run.refs])
        first, cached = hit, self._latest.tokens
        prefill_end = self._prefill_end(self._sought)
        for band, stop in zip(self.bands, self._latest.stops, strict=True):
            spec = band.spec
            whole = band.missing(stop, cached, whole_tokens, prefill_end)
            if band.most_blocks is not None and spec.kind != "recurrent":
                behind = spec.skipped_blocks(cached) if surely else 0
                whole = max(0, min(whole, band.most_blocks + behind - stop))
            elif band.most_blocks is not None and surely:  # a state that is hit is one of them
                whole = min(max(0, -(-whole_tokens // spec.block_size) - stop), band.most_blocks - bool(stop))
            spare = band.spare_blocks
            needed += (whole + spare) * band.width
            first += (band.missing_in_step(stop, cached, step_tokens, prefill_end) + spare) * band.width
        self.lasting_room = needed
        return max(needed, first)

    def room_for_loads(self, hits: Hits, tokens: int) -> int:
        """Return the free blocks that a turn takes with these hits and what it loads, so many tokens in all."""
        return self.room_for(hits, tokens, tokens)

    def room_to_go_on(self, request: Request, whole_tokens: int, step_tokens: int) -> int:
        """Return the free blocks that a turn takes which has loaded some: for all of it, or for its next step."""
        computed, prefill_end = request.num_computed_tokens, self._prefill_end(request)
        tables = self.tables[request]
        step = sum([table.missing(computed, step_tokens, prefill_end) * table.band.width for table in tables])
        self.lasting_room = self._lacking(request, computed, whole_tokens)
        return max(self.lasting_room, step)

    def lacking(self, request: Request, computed_tokens: int, held_tokens: int) -> int:
        """Return the blocks that a turn lacks for all its tokens, of windows those that it needs at once."""
        return self._lacking(request, computed_tokens, request.num_tokens)

    def _lacking(self, request: Request, computed_tokens: int, tokens: int) -> int:
        blocks, prefill_end = 0, self._prefill_end(request)
        for table in self.tables[request]:
            missing = table.lacking(computed_tokens, tokens, prefill_end)
            if table.band.most_blocks is not None and table.band.spec.kind != "recurrent":
                missing = max(0, min(missing, table.band.most_blocks - table.stop))
            blocks += missing * table.band.width
        return blocks

    def go_on(self, request: Request, tokens: int, held_blocks: int) -> None:
        """Give a turn that has loaded some the blocks for so many more tokens."""
        start = request.num_computed_tokens
        self.extend(request, start + tokens, self.growth(request, start, tokens, 0))

    def growth(self, request: Request, start: int, tokens: int, in_flight_tokens: int) -> int:
        """Free the blocks behind a running turn's windows; return how many it needs for its next `tokens` tokens."""
        over = start - in_flight_tokens
        if over > 0:
            self.slide(request, over)
        blocks, prefill_end = 0, self._prefill_end(request)
        for table in self.tables[request]:
            blocks += table.missing(start, start + tokens, prefill_end) * table.band.width
        return blocks

    def slide(self, request: Request, over: int) -> None:
        """Free the blocks behind a turn's windows once so many tokens have been computed."""
        for table in self.tables.get(request, ()):
            spec = table.band.spec
            if not spec.frees:
                continue
            skipped = min(spec.skipped_blocks(over), table.stop)
            if skipped <= table.first:
                continue
            if table.cached * spec.block_size < over and not (request.decoding and self._sparse and spec.reach):
                self.cache(request, over)  # as vLLM has done step by step
            self.pool.now = max(self.pool.now, self._time(0, request.rank, table.band.groups[0]))
            self.pool.merge(table.runs)
            if self.offloads is not None:  # which knows copies by their stamps, as merged
                self.offloads.blocks_freed(request, table, skipped)
            self._drop(table, skipped)

    def cut_prompt(self, request: Request, start: int, tokens: int) -> int:
        """Return how many of the next `tokens` tokens of a prompt a step may compute, so that states can be cached."""
        if self._boundaries is None:
            return tokens
        junction = self._junctions.get(request, self._latest.junction_tokens)  # the latter of a turn yet to be admitted
        return self._boundaries.cut(request, start, tokens, junction)

    def new_step_starts(self) -> None:
        """Note that states that are cached from now on cannot be hit in the same step."""
        self._states_to_come.clear()

    def must_wait(self, request: Request) -> bool:
        """Return whether a turn hits, as just looked up, a state that only the step being planned computes."""
        if not self._states_to_come or not self._latest.tokens:
            return False
        contents, stops = self._contents(request.context), self._latest.stops
        for number, band in enumerate(self.bands):
            if band.spec.kind == "recurrent":
                last = stops[number] - 1
                if (contents[number].parts(last, last + 1)[0][0], last) in self._states_to_come:
                    return True
        return False

    def junction_tokens(self, request: Request) -> int:
        """Return the tokens of a turn in the batch that some group had cached, if another had fewer; otherwise 0."""
        return self._junctions[request]

    # Taking and giving back -----------------------------------------------------------------------------

    def allocate(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks of all groups, then allocate the rest of the blocks for so many tokens."""
        found = self._latest
        tables = self.tables[request] = [band.open_table() for band in self.bands]
        self._junctions[request] = found.junction_tokens
        missing = 0
        for table, stretches, cached in zip(tables, found.by_band, found.stops, strict=True):
            for run, start, stop in reversed(stretches):
                self.pool.touch(run, start, stop, table.runs)
            if self.offloads is not None and table.runs:
                self.offloads.blocks_hit(request, table)
            self.pool.merge(table.runs, hit=True)
            table.begin(cached, found.tokens)
            missing += table.missing(found.tokens, tokens, self._prefill_end(request)) * table.band.width
        self._extend(request, tokens, missing, 0)
        if request.scheduled_s < 0:
            request.cached_tokens = found.hit_tokens

    def extend(self, request: Request, tokens: int, blocks: int, in_flight_tokens: int = 0) -> None:
        """Give a turn `blocks` more blocks, so that it has those for so many tokens in every group.

        Blocks of a shared prefix may become findable only as the turn decodes, if groups have blocks of several sizes.
        """
        self._extend(request, tokens, blocks, in_flight_tokens)

    def _extend(self, request: Request, tokens: int, blocks: int, in_flight_tokens: int) -> None:
        if blocks:
            self.pool.allocate(blocks)
            for table in self.tables[request]:
                self.copied_states += table.extend(tokens) * table.band.width
        known = self._known(request, tokens, in_flight_tokens)
        if self._lags and request.decoding:
            self.cache(request, known)
        if self._defers_again:
            self._defer_again(request, known)

    def _known(self, request: Request, tokens: int, in_flight_tokens: int) -> int:
        """Return of how many tokens a turn's blocks can be found once it has those for so many."""
        return tokens - (request.decoding and in_flight_tokens > 0)

    def _drop(self, table: BandTable, stop: int) -> None:
        """Free a table's blocks before `stop`, group by group, the last of them first."""
        dropped = table.drop_before(stop) * table.band.width
        self.pool.release([], dropped - self.pool.release_front(table.runs, stop))
        self.freed_blocks += dropped

    def free(self, request: Request, tokens: int) -> None:
        """Free a turn's blocks, group by group."""
        for table in self._taken_from(request):
            blank = table.blank()
            self.pool.merge(table.runs)
            if self.offloads is not None and table.band.spec.frees:
                self.offloads.blocks_freed(request, table, table.stop)
            self.pool.release(table.runs, blank)

    def first_blocks(self, request: Request) -> list[int]:
        """Return the first block that a turn holds of each group."""
        return [table.first for table in self.tables[request] for _ in table.band.groups]

    def detach(self, request: Request, tokens: int) -> tuple[list[list[BlockRun]], int]:
        """Take a turn's blocks from it, to be freed later: the last group's first, as vLLM does then."""
        tables: list[list[BlockRun]] = []
        blank = 0
        for table in self._taken_from(request):
            blank += table.blank()
            self.pool.merge(table.runs)
            if self.offloads is not None and table.band.spec.frees:
                self.offloads.blocks_freed(request, table, table.stop, later=True)
            tables += self.pool.by_group(table.runs)
        return tables[::-1], blank

    def keep_and_detach(self, request: Request, tokens: int) -> tuple[list[BlockRun], list[list[BlockRun]], int]:
        """Like `keep`, but let all blocks stay referenced until what is returned beside those for a pin is freed."""
        kept = self._hold(request.context, tokens)
        return kept, *self.detach(request, tokens)

    def evict(self, request: Request, tokens: int) -> None:
        """Free a turn's blocks and forget what nothing else holds."""
        for table in self._taken_from(request):
            self.pool.evict(table.runs, table.blank())

    def _taken_from(self, request: Request) -> list[BandTable]:
        self._junctions.pop(request, None)
        if self.cached_states:
            self.cached_states = [entry for entry in self.cached_states if entry[0] is not request]
        return self.tables.pop(request, [])  # empty if it was preempted and its last token came late

    # Content --------------------------------------------------------------------------------------------

    def cache(self, request: Request, tokens: int, *, leaves: bool = False) -> None:
        """Make full blocks findable.

        Of what no other program looks for, groups that keep all tokens are served when the turn `leaves` the batch.
        """
        tables = self.tables.get(request)
        if tables is None or not self._caches:
            return
        tokens = tokens // self._alignment * self._alignment
        boundaries = (request.prompt_tokens - 1, self._junctions[request])
        findable_tokens = min(tokens, max(boundaries) // self._alignment * self._alignment)
        for table, content in zip(tables, self._contents(request.context), strict=True):
            spec = table.band.spec
            if not spec.frees:
                full = tokens // spec.block_size
                if not leaves and full > content.shared_blocks:
                    full = content.shared_blocks
            else:
                full = (findable_tokens if self._sparse and spec.reach else tokens) // spec.block_size
            if full > table.cached:
                self._cache_band(request, table, content, full, boundaries)

    def _cache_band(
        self, request: Request, table: BandTable, content: Content, full: int, boundaries: Sequence[int]
    ) -> None:
        band, spec = table.band, table.band.spec
        if spec.frees:
            interval = self.retention_interval
            spans = spec.findable(table.cached, full, boundaries, self._alignment, interval, drops=band.drops)
            spans = table.held(spans)
        else:
            spans = [(table.cached, full)]
        table.cached = full
        for start, stop in spans:
            for chain, first, last in content.parts(start, stop):
                self.pool.cache(chain, first, last, table.runs)
                if spec.kind == "recurrent":
                    self._states_to_come.add((chain, first))
                    if self.cached_states is not None:
                        self.cached_states += [(request, group, first) for group in band.groups]

    def _defer_again(self, request: Request, tokens: int) -> None:
        """Let nobody hit in this step the state at the end of a prompt, with `tokens` tokens computed, once more."""
        size = self._alignment
        end = self._end_of_prompt(request) // size
        if not end or tokens // size != end:
            return
        for table, content in zip(self.tables[request], self._contents(request.context), strict=True):
            if isinstance(table, StateTable) and end - 1 in table.states:
                self._states_to_come.add((content.parts(end - 1, end)[0][0], end - 1))

    def _end_of_prompt(self, request: Request) -> int:
        """Return the tokens of a prompt after which its last state is kept."""
        return last_reusable(request.prompt_tokens, self._alignment, steps_back=False)

    # Pins -----------------------------------------------------------------------------------------------

    def blocks_to_keep(self, request: Request, tokens: int) -> int:
        """Return how many blocks a pin of a turn that ends would hold: those that the next turn can hit."""
        self.cache(request, tokens, leaves=True)
        spans = self._longest_hit(self._contents(request.context), tokens)[0]
        held = zip(self.bands, spans, strict=True)
        return sum([max(0, stop - start) * band.width for band, (start, stop) in held])

    def keep(self, request: Request, tokens: int) -> list[BlockRun]:
        """Free a turn's blocks but for those of the next turn's hit; return these, still referenced."""
        self.free(request, tokens)
        return self._hold(request.context, tokens)

    def shrink(self, context: Context, kept_tokens: int, prompt_tokens: int) -> int:
        """Let a pin hold only what the program's next prompt hits; return the blocks that it still holds."""
        self.pool.unpin(context.pinned)
        context.pinned = self._hold(context, prompt_tokens - 1)
        self.pool.pin(context.pinned)
        return sum([len(run) for run in context.pinned])

    def _hold(self, context: Context, tokens: int) -> list[BlockRun]:
        held: list[BlockRun] = []
        for run, start, stop in reversed(self._find(context, tokens).stretches()):
            self.pool.touch(run, start, stop, held)
        self.pool.merge(held, hit=True)
        return held
