#!/usr/bin/env bash
# Make a virtual environment and install the project in it, with the versions that pyproject.toml pins.
# Usage: scripts/setup.sh [ENVIRONMENT]   (default .venv; an existing one, conda's too, is installed into)
# Started again with nothing changed, it returns at once: a stamp in the environment says what was installed.
set -euo pipefail
cd "$(dirname "$0")/.."
environment="${1:-.venv}"
python="$environment/bin/python"
stamp="$environment/.solid-study"
log="$environment/install.log"

fail() {
    echo "error: set-up: $*" >&2
    exit 2
}

# The interpreter the user names in PYTHON, else 3.11 (which made the shipped run), else 3.12.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "${PYTHON:-python3.11}: not a Python 3.11 or 3.12; install one, or name one: make study PYTHON=/path/to/python3.11"
}

# What the stamp holds, a line each: where the environment lies (it cannot be moved), the project, what it asks for.
wanted() {
    "$python" - "$environment" <<'PYTHON' 2>/dev/null
import hashlib, os, pathlib, sys
print(os.path.abspath(sys.argv[1]), os.getcwd(), sep="\n")
print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest())
PYTHON
}

# Make the environment unless a working one is there; one that was moved is made anew.
make_environment() {
    if "$python" -c '' 2>/dev/null && { [ ! -f "$stamp" ] || [ "$(head -1 "$stamp")" = "$(wanted | head -1)" ]; }; then
        return
    fi
    [ ! -e "$environment" ] || [ -f "$environment/pyvenv.cfg" ] ||
        fail "$environment: not a virtual environment and in the way; delete it, or name another: make study VENV=FOLDER"
    # Making it anew empties it, and a link's target is somebody else's.
    [ ! -L "$environment" ] ||
        fail "$environment: a link to $(readlink -f "$environment"), which would be emptied; delete the link, or name that: VENV=FOLDER"
    local base
    base="$(find_python)"
    echo "set-up: making $environment with $("$base" --version)"
    "$base" -m venv --clear "$environment" || fail "$base -m venv failed, see above (on Debian: apt install python3-venv)"
}

# check_disk MB: before the download, not after. What is downloaded and what it unpacks to lie side by side: 2700 were
# seen; twice that where CUDA's libraries come, too (5600 in the environment alone). With torch there little is missing.
check_disk() {
    ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' || return 0
    local free
    free="$(df -Pk "$environment" | awk 'END { print $4 }')"
    [ "$free" -ge $(($1 * 1000)) ] ||
        fail "$environment: $((free / 1000)) MB free on its disk, the packages need $1; free some, or name another place: VENV=FOLDER"
}

# Install with pip: all it says goes to the log, a line for every 20 packages and every big file to the screen.
install() {
    "$python" -m pip install --disable-pip-version-check --progress-bar off "$@" 2>&1 | progress ||
        fail "pip: $(grep -m1 -o 'ERROR: .*' "$log" || tail -1 "$log"); check network and disk (3 GB), see $log, start again"
}

progress() {
    local line found=0
    while IFS= read -r line; do
        echo "$line" >>"$log"
        case "$line" in
            Collecting*) ((++found % 20)) || echo "set-up: $found packages found" ;;
            *Downloading*[0-9][0-9][0-9].[0-9]" MB)"*) echo "set-up: ${line#"${line%%[! ]*}"}" ;;
            Installing*) echo "set-up: unpacking, a minute or so" ;;
        esac
    done
}

# PyPI's torch for Linux brings gigabytes of CUDA libraries. Where no GPU is to be seen, take the CPU build from
# PyTorch's own index, if it answers within 5 seconds (SIGALRM ends the probe even inside a name look-up).
install_cpu_torch() {
    [ "$(uname -s)" = Linux ] || return 0
    ! command -v nvidia-smi >/dev/null || return 0
    local index=https://download.pytorch.org/whl/cpu torch
    torch="$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
    if "$python" -c "import signal, urllib.request as u; signal.alarm(5); u.urlopen('$index/torch/')" 2>/dev/null; then
        echo "set-up: no GPU: $torch, the CPU build, from $index"
        install --no-deps --index-url "$index" "$torch"
    else
        echo "set-up: no GPU, and $index does not answer: torch from pip's index, perhaps with 3 GB of CUDA libraries"
    fi
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ]; then
    exit 0
fi
make_environment
if command -v nvidia-smi >/dev/null; then check_disk 6000; else check_disk 3000; fi
rm -f "$stamp" "$log"
echo "set-up: installing about 2.3 GB of packages into $environment, about 2-5 minutes (log: $log)"
install_cpu_torch
install -e ".[test]"
wanted >"$stamp"
echo "set-up: done"
