# Sourced by .ci/run: copies of the checkout, and environments that share installed packages.

copy_checkout() { # copy_checkout FOLDER: as in git, with local changes, and with shared/ beside it as beside this one
    mkdir -p "$1/continuum-sim"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t "$1/continuum-sim" --
    if [ -d ../shared ]; then ln -s "$(cd ../shared && pwd)" "$1/shared"; fi
}

readme_command() { # readme_command HEADING: the first block of bash below a heading of the README
    awk -v heading="## $1" '
        $0 == heading {below = 1}
        below && block && /^```/ {exit}
        below && block {print}
        below && /^```bash/ {block = 1}' README.md
}

readme_tests() { # the end of the block about tests, without the installation, which is a separate step
    readme_command Test | tail -n 1 | sed 's/.* && //'
}

readme_installation() {
    local command
    command=$(readme_command Test)
    command=${command%"$(readme_tests)"}
    echo "${command% && }"
}

dev="$work/checkout/continuum-sim/.venv/bin"
uv="$work/uv/bin/uv"

shared_environment() { # shared_environment FOLDER WHEEL: the tools' packages, and this wheel instead of the checkout
    "$python" -m venv --without-pip "$1"
    "$dev/python" -c 'import site; print(site.getsitepackages()[0])' >"$("$1/bin/python" -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
    "$uv" pip install -q --python "$1/bin/python" --no-deps "$2"
}

find_python() { # find_python 3.12: the path of such an interpreter, empty if there is none
    local found
    for found in "$(command -v "python$1" || true)" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if [ -x "$found" ] && "$found" -c 'import venv' 2>/dev/null; then echo "$found" && return; fi
    done
}

# The report is tested in a browser; without one those tests are skipped with a message.
install_browser() {
    if command -v chromedriver >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "no browser, and no way to install one: the report is not tested in one"
        return
    fi
    { apt-get update -q && apt-get install -y -q --no-install-recommends chromium chromium-driver; } >"$work/apt.log" 2>&1 ||
        { tail -n 5 "$work/apt.log"; echo "no browser could be installed: the report is not tested in one"; }
}

install_uv() {
    "$python" -m venv "$work/uv"
    "$work/uv/bin/pip" install -q uv
}

tools_lane() {
    step "uv" install_uv
    step "a browser for the report's tests" install_browser
}

install_lane() {
    cd "$work/checkout/continuum-sim"
    step "README, Test: the installation" install_for_tests
}

install_for_tests() {
    readme_installation
    bash -ec "$(readme_installation)"
}
