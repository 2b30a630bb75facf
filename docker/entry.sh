#!/bin/sh
# Entry point of the images: `gate ARGUMENTS` is a gated session; anything else is a command, run in the suite's checkout.
set -eu
cd "$(dirname "$0")/.."

if ! "$CONFORMANCE_PYTHON" -c ''; then
    echo "$CONFORMANCE_PYTHON cannot be started by user $(id -u), expected the Python of the image: where it lies in root's" \
        "home, run the container with --user 0; where it is another one, build with --build-arg PYTHON=/path/to/python" >&2
    exit 4
fi
# The commands of that Python (pytest, conformance), also where it is not on PATH.
PATH="$("$CONFORMANCE_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("scripts"))'):$PATH"
export PATH

if [ "$1" != gate ]; then
    exec "$@"
fi
shift
exec "$CONFORMANCE_PYTHON" -m pytest -p no:cacheprovider --gate --runs=/runs --junitxml=/runs/report.xml "$@"
