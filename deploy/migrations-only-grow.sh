#!/bin/sh
# Fails when a migration of BASE was changed or removed, since databases out there have run it; and when a
# new one renames, or drops, what the release at BASE still uses (backward_compatible.py).
# Usage: deploy/migrations-only-grow.sh BASE
set -eu

# What GitHub says of a branch that is pushed for the first time: nothing was before.
case ${1:?which base?} in *[!0]*) ;; *) exit 0 ;; esac

changed=$(git diff --no-renames --name-only --diff-filter=a "$1" HEAD -- alembic/versions)
if [ -n "$changed" ]; then
	printf 'These have run already; add a migration instead:\n%s\n' "$changed" >&2
	exit 1
fi

exec python3 "$(dirname "$0")/backward_compatible.py" "$1"
