"""Turns whose clients leave before their end (vLLM's `finish_requests` with `FINISHED_ABORTED`)."""

from __future__ import annotations

from continuum_sim.engine.plan import steps_of
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler


def abort_requests(scheduler: Scheduler, now_s: float) -> list[Request]:
    """Remove the turns whose clients have hung up; what planned steps compute for them is lost. Return them.

    Their full blocks stay findable, as those of any turn: a client that sends the same turn again finds its prompt.
    """
    aborted = list(scheduler.leaving)
    scheduler.leaving.clear()
    for request in aborted:
        request.aborted, request.finish_s = True, now_s
        steps = steps_of(scheduler.plans, request) if request.rank >= 0 else []
        reckoned = scheduler.batch.computed(request)
        in_flight = sum([plan.tokens_in_flight(request) for plan in steps])
        pipelined = scheduler.pipelined
        findable = _withdraw(scheduler, request) if pipelined is None else pipelined.withdraw(request, scheduler.plans)
        if request.rank < 0:
            scheduler.connector.request_aborted(request, 0)
            scheduler.reloads.drop(request)
            scheduler.waiting.drop(request)
            scheduler.governor.turn_aborted(request.turn, now_s)
            continue
        scheduler.batch.leave(request)
        scheduler.governor.turn_aborted(request.turn, now_s)
        scheduler.kv_cache_manager.cache(request, findable, leaves=True)
        known = request.num_computed_tokens
        if len(steps) > 1 and known > request.prompt_tokens:
            known -= 1  # the token that the first of two steps samples
        if request.drafted is not None:
            known = min(reckoned, request.num_tokens - request.drafted.coming_tokens)
        scheduler.connector.request_aborted(request, known)
        if scheduler.connector.native:
            scheduler.kv_cache_manager.slide(request, max(0, request.num_computed_tokens - in_flight))
        scheduler.ends.free(request, request.num_computed_tokens, under_way=bool(steps))
    return aborted


def forget(scheduler: Scheduler, program_id: str, now_s: float) -> None:
    """Treat a program as ended that has been silent for too long."""
    program = scheduler.governor.programs.get(program_id)
    if program is not None:
        scheduler.governor.program_forgotten(program, now_s)
    scheduler.contexts.close(program_id)


def _withdraw(scheduler: Scheduler, request: Request) -> int:
    """Let no planned step hand a turn a token; return how many of its tokens others may find."""
    findable = scheduler.batch.computed(request)
    if request.drafted is not None:  # only the tokens of steps that are over are known
        request.drafted.coming_tokens = sum([plan.given.get(request, 0) for plan in scheduler.plans])
    decodes, latest = request.decoding, scheduler.most_plans > 1
    for plan in reversed(scheduler.plans):
        decodes = decodes or request in plan.ended
        late = [entry for entry in plan.late if entry[1] is request]
        if request in plan.sampling:
            plan.sampling.remove(request)
            decodes = latest = False
        elif late or (decodes and plan.takes_part(request)):
            in_vain = plan is not scheduler.plans[0] and request in scheduler.plans[0].ended
            plan.wasted_tokens += not in_vain
            findable -= latest  # vLLM hashes a block of decoded tokens when it knows them all
            latest = False
        plan.late = [entry for entry in plan.late if entry[1] is not request]
        plan.ended = [ended for ended in plan.ended if ended is not request]
        plan.hung_up = [hung_up for hung_up in plan.hung_up if hung_up is not request]
    return findable
