# Sourced by .ci/run: named and timed steps, in parallel lanes.

lane() { # lane NAME FUNCTION: starts a lane, whose output is printed when it ends
    local name=$1 function=$2
    (
        lane=$name
        "$function"
    ) >"$work/$name.log" 2>&1 </dev/null &
    lanes[$name]=$!
}

step() { # step NAME COMMAND...: runs a step, records its seconds, and ends the lane if it fails
    local name=$1 began=$SECONDS code
    shift
    printf '\n=== %s: %s (at %s s)\n' "$lane" "$name" "$SECONDS"
    set +e
    (
        set -e
        "$@"
    )
    code=$?
    set -e
    printf '%7s s  %s: %s\n' "$((SECONDS - began))" "$lane" "$name" >>"$work/times"
    if [ "$code" != 0 ]; then
        printf '%s: %s (exit code %s)\n' "$lane" "$name" "$code" | tee -a "$work/failed"
        exit "$code"
    fi
}

finish() { # finish NAME...: waits for lanes and prints them; a failed one does not stop the others
    local name
    for name in "$@"; do
        wait "${lanes[$name]}" || echo "lane $name failed (exit code $?)" >>"$work/broken"
        unset "lanes[$name]"
        cat "$work/$name.log"
    done
}

stop_if_failed() { # ends the run with the names of failed steps
    [ -s "$work/failed" ] || [ -s "$work/broken" ] || return 0
    times
    printf '\n=== failed\n'
    cat "$work/failed" "$work/broken" 2>/dev/null
    exit 1
}

times() {
    printf '\n=== seconds of each step (lanes run side by side; %s s in all)\n' "$SECONDS"
    cat "$work/times"
}

day_of_year() { # of the date that chooses what is sampled
    date -d "$CONTINUUM_CI_DATE" +%-j
}

clean_up() { # ends running lanes with all their processes, and removes temporary files
    local name
    for name in "${!lanes[@]}"; do kill -TERM -- "-${lanes[$name]}" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
