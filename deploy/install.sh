#!/bin/sh
# Installs Courtyard, with everything that is optional, into a new environment; the Dockerfile and its test run this.
#   deploy/install.sh /opt/courtyard
# Run it at the top of the repository. Everything is checked against the hashes in requirements/, and what only builds
# is not left behind.
set -eu
target=$1

python3 -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
uv() { VIRTUAL_ENV="$target" UV_COMPILE_BYTECODE=1 "$target/bin/uv" --quiet pip "$@"; }
uv install --require-hashes -r requirements/full.txt
uv install --no-deps --no-build-isolation .
# Last of all, and by the name of each, because this takes the tool away too.
uv freeze --exclude courtyard --exclude pip | cut -d= -f1 | while read -r package; do
    grep -q "^$package==" requirements/full.txt || echo "$package"
done > "$target/unwanted.txt"
"$target/bin/pip" uninstall --quiet --yes -r "$target/unwanted.txt"
rm "$target/unwanted.txt"
"$target/bin/courtyard" --help > /dev/null
