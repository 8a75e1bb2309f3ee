# Sourced by .ci/run: every check that needs no vLLM.

tests_lane() {
    renice -n 5 "$BASHPID" >/dev/null # the engine's clock comes first
    cd "$work/checkout/continuum-sim"
    step "README, Test: the tests" quick_tests
    step "the longer tests" "$dev/pytest" -q -rs -n auto -m 'slow and not engine' --ignore tests/test_docs_commands.py
    step "properties on up to fourteen times the examples, a seventh of them by date" more_examples
    step "commands of README and documentation, as typed" "$dev/pytest" -q -rs -n auto tests/test_docs_commands.py
}

builds_lane() {
    renice -n 5 "$BASHPID" >/dev/null
    cd "$work/checkout/continuum-sim"
    step "lint and format" lint
    step "types" .ci/typecheck "$dev/mypy"
    step "README, Install and run" install_as_a_user
    step "wheel" "$dev/python" -m build -q --no-isolation --wheel --outdir "$work/plain" .
    step "lowest versions of all dependencies" lowest_versions
    step "newest versions on Python 3.12 and 3.13" newest_versions
    step "compiled wheel" compiled_wheel
    step "both builds write the same bytes" .ci/same-results "$dev/continuum-sim" "$work/fast/bin/continuum-sim" "$CONTINUUM_CI_DATE"
    step "the engine's tests on the compiled build" compiled_tests
}

quick_tests() {
    readme_tests
    PATH=$dev:$PATH bash -ec "$(readme_tests)" # as in the shell of the installation, which may have activated it
}

more_examples() {
    CONTINUUM_EXAMPLES=14 CONTINUUM_CI_SHARE=7 "$dev/pytest" -q -n auto -m 'not slow' tests/sim/engine \
        tests/sim/steptime/test_contract.py tests/policies/test_field_modes.py
    CONTINUUM_EXAMPLES=8 CONTINUUM_CI_SHARE=7 "$dev/pytest" -q -n auto -m 'not slow' tests/traces tests/sim/sweeps/test_store.py
}

lint() {
    "$dev/ruff" check .
    "$dev/ruff" format --check .
}

install_as_a_user() {
    cd "$work/user/continuum-sim"
    readme_command 'Install and run'
    bash -ec "$(readme_command 'Install and run')"
}

# The lowest versions that pyproject.toml allows, all together, on a fourth of the tests chosen by date; and one of
# them per day beside the newest versions of the others.
lowest_versions() {
    .ci/lowest >"$work/lowest.txt"
    with_versions "$work/lowest" "$python" '[dev]' "$work/lowest.txt"
    "$work/lowest/bin/python" .ci/lowest --check
    CONTINUUM_CI_SHARE=4 "$work/lowest/bin/python" -m pytest -q -n auto -m 'not slow' tests/sim/cli tests/sim/runs \
        tests/sim/re{port,sults} tests/sim/plotting tests/sim/sweeps tests/traces/importers tests/traces/test_{fit,load,write}.py
    .ci/lowest --of-the-day "$CONTINUUM_CI_DATE" | tee "$work/one.txt"
    with_versions "$work/one" "$python" '' "$work/one.txt"
    "$work/one/bin/python" -m pytest -q -m 'not slow' tests/sim/cli/test_{run,errors,other}.py tests/sim/runs/test_api_compare.py \
        tests/sim/results/test_{are_data,files,paired,recorder,view}.py tests/sim/plotting/test_figures_of_runs.py
}

# One of them runs a seventh of the quick tests, the other a part of that, alternating by date; the README's runs all of
# them on the Python that it finds.
newest_versions() {
    local version found share
    for version in 3.12 3.13; do
        found=$(find_python "$version")
        if [ -z "$found" ]; then
            echo "no Python $version here: not tested on it"
            continue
        fi
        share=$(((${version#3.} + $(day_of_year)) % 2 ? 7 : 28))
        with_versions "$work/python$version" "$found" '[aiconfigurator,dask,perfetto,tokenizer,tune]' /dev/null
        echo "Python $version: one in $share of the quick tests"
        CONTINUUM_CI_SHARE=$share "$work/python$version/bin/python" -m pytest -q -n auto -m 'not slow'
    done
}

with_versions() { # with_versions FOLDER PYTHON EXTRAS CONSTRAINTS: the wheel and pytest, in a separate environment
    "$uv" venv -q --python "$2" "$1"
    "$uv" pip install -q --python "$1/bin/python" -c "$4" "continuum-sim$3 @ file://$(echo "$work"/plain/*.whl)" \
        pytest pytest-xdist hypothesis 'setuptools>=77.0.1'
}

compiled_wheel() {
    CONTINUUM_SIM_COMPILE=1 "$dev/python" -m build -q --wheel --outdir "$work/compiled" .
    shared_environment "$work/fast" "$work"/compiled/*.whl
    "$work/fast/bin/continuum-sim" --version | grep -F '(compiled)'
}

# The bytes are compared before, so only a third of the tests runs here, by date.
compiled_tests() {
    CONTINUUM_CI_SHARE=3 "$work/fast/bin/python" -m pytest -q -n auto -m 'not slow' tests/test_build.py tests/test_docstring_examples.py \
        tests/policies tests/sim/engine \
        tests/sim/steptime tests/sim/sweeps/test_run.py tests/sim/runs/test_{api_compare,cluster_runs,tiers_api}.py \
        tests/sim/world/test_cluster.py
}
