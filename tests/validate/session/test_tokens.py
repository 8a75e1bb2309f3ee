"""Token ids of a replay."""

from __future__ import annotations

from continuum_sim.traces.schema import Program, SharedPrefix, Turn
from continuum_sim.validate.session.tokens import Conversation

PROGRAM = Program("p", (Turn(40, 0, 10, "bash", 1.0), Turn(60, 45, 5, "bash", 1.0), Turn(30, 20, 5)))


def play(program: Program, seed: int = 0) -> list[list[int]]:
    """Return the prompts when the engine generates 9001, 9002, …"""
    conversation = Conversation(program, 8000, seed)
    prompts, made = [], 9000
    for index, turn in enumerate(program.turns):
        prompts.append(conversation.prompt(index))
        conversation.generated(list(range(made + 1, made + 1 + turn.output_tokens)))
        made += turn.output_tokens
    return prompts


def test_a_prompt_holds_what_was_generated_as_far_as_it_is_kept() -> None:
    first, second, third = play(PROGRAM)
    assert [len(prompt) for prompt in (first, second, third)] == [40, 60, 30]
    assert second[:40] == first
    assert second[40:45] == [9001, 9002, 9003, 9004, 9005]
    assert max(second[45:]) < 8000  # new tokens, not the rest of the output
    assert third[:20] == second[:20]
    assert third[20:] != second[20:30]


def test_every_repeat_sends_the_same_and_every_program_something_else() -> None:
    other = Program("q", PROGRAM.turns)
    assert play(PROGRAM) == play(PROGRAM)
    assert play(PROGRAM)[0][:8] != play(other)[0][:8]
    assert play(PROGRAM)[0][:8] != play(PROGRAM, seed=1)[0][:8]


def test_programs_share_what_the_trace_says_they_share() -> None:
    one, two = (
        Program(name, (Turn(100, 0, 3),), None, SharedPrefix("system", tokens))
        for name, tokens in (("a", 50), ("b", 30))
    )
    a, b = play(one)[0], play(two)[0]
    assert a[:30] == b[:30]
    assert a[30:40] != b[30:40]


def test_a_conversation_is_not_changed_by_its_reader() -> None:
    conversation = Conversation(PROGRAM, 8000, 0)
    conversation.prompt(0).clear()
    conversation.generated([1] * 10)
    assert len(conversation.prompt(1)) == 60
