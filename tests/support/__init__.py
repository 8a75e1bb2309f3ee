"""Helpers that several test packages share; found through `pythonpath = ["tests"]` in pyproject.toml.

To write down and run a small case:

* `programs`: programs and engines in few words: `program("a", turn(4, 7, gap=2.0), turn(12, 1))`, `engine(20)`
* `steptimes`: step times that can be worked out by hand (`constant`, `affine`), and one without a closed form
* `runs`: `simulate(programs, policy, config=…)`, with turns, programs, timeline and decisions kept in memory
* `schedule`: the same run as a list of steps, to be compared with one written by hand
* `governed`: a policy alone, told what happens to programs by the test
* `rules`: rules of tests, names for them that go again, and a recorder of what they saw

To draw cases and judge them:

* `strategies`: hypothesis strategies of traces, engines, policies, families and tools that reach a scheduler's corners
* `queue_histories`: what happens to a waiting queue, and who drives one through it
* `invariants`: an observer that recounts after every step what must hold in any run
* `compare`: whether two runs decided the same at the same times
* `chains`: birth-death chains of which everything is known exactly
* `token_times`: when each token of a run came, from its steps
* `naive_pool`: vLLM's block pool with one object a block, the oracle of ours

The command line, pages and files:

* `cli`: a command as typed: what it `printed`, or the one line in which it was `refused`
* `terminal`: what a command shows on a terminal of a given width
* `views`: the text of a page or a fragment, and what of a view it lacks
* `browser`: a headless Chromium
* `small_results`: settings of small runs, for what reads results
* `malformed`: valid files of every kind, and ways to spoil them

Logs and traces of other tools:

* `agent_logs`: of coding agents
* `claude_logs`: of Claude Code, record by record
* `session_logs`: of sessions of other agents and of evaluations
* `otel_logs`: spans as their writers write them
* `request_logs`: of requests, and traces for load generators
* `request_tables`: of requests in counts, times and sessions
* `recorded_logs`: of measured runs, as made from simulated ones
* `logs`: one of every format that can be imported, and a tokenizer

Engines for the validator and the plug-in:

* `fake_engine`: the simulator behind the validator's interface
* `fake_server`: an HTTP server that streams made-up tokens
* `virtual_time`: asyncio on a clock that costs no time
* `vllm_bench`: vLLM's scheduler under the plug-in, stepped by hand
* `engine_run`: serves programs on a real engine under the plug-in
"""
