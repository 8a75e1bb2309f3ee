"""Helpers shared by several test packages; found through `pythonpath = ["tests"]` in pyproject.toml.

To write and run a small case:

* `programs`: short notation for programs and engines: `program("a", turn(4, 7, gap=2.0), turn(12, 1))`, `engine(20)`
* `steptimes`: step times that can be computed by hand (`constant`, `affine`), and one without a closed form
* `runs`: `simulate(programs, policy, config=…)`, keeping turns, programs, timeline and decisions in memory
* `schedule`: the same run as a list of steps, for comparison with one written by hand
* `governed`: a policy alone; the test tells it what happens to programs
* `builds`: what cannot be tested on a compiled build
* `rules`: rules for tests, temporary names for them, and a recorder of what they saw

To draw cases and check them:

* `strategies`: hypothesis strategies for traces, engines, policies, families and tools in a scheduler's corner cases
* `queue_histories`: histories of a waiting queue, and a driver that plays one
* `invariants`: an observer that checks after every step what must hold in any run
* `compare`: check that two runs made the same decisions at the same times
* `chains`: birth-death chains with known exact results
* `token_times`: the time of each token in a run, from its steps
* `naive_pool`: vLLM's block pool with one object per block, the oracle for ours

Models and GPUs:

* `configurations`: models of `tests/oracles/configs`
* `toy_gpu`: a GPU with round numbers
* `profiles`: kernel tables whose times follow a formula
* `published_mixtures`: measured throughputs of mixtures of experts

The command line, pages and files:

* `cli`: run a command as typed and get what it `printed`, or the one line in which it was `refused`
* `terminal`: what a command shows on a terminal of a given width
* `views`: the text of a page or a fragment, and which part of a view it lacks
* `browser`: a headless Chromium
* `small_results`: settings of small runs, for tests of what reads results
* `malformed`: valid files of every kind, and ways to break them

Logs and traces of other tools:

* `agent_logs`: coding agents
* `claude_logs`: Claude Code, record by record
* `session_logs`: sessions of other agents and of evaluations
* `otel_logs`: spans as their writers write them
* `request_logs`: requests, and traces for load generators
* `request_tables`: requests as counts, times and sessions
* `recorded_logs`: measured runs, made from simulated ones
* `logs`: one in every format that can be imported, and a tokenizer

Engines for the validator and the plug-in:

* `fake_engine`: the simulator behind the validator's interface
* `fake_server`: an HTTP server that streams made-up tokens
* `virtual_time`: asyncio on a virtual clock
* `vllm_bench`: vLLM's scheduler under the plug-in, stepped by hand
* `engine_run`: serves programs on a real engine under the plug-in
"""
