#!/bin/sh
# Fails if a migration of BASE was changed or removed, because deployed databases have already run it, or if a
# new one renames or drops what the release at BASE still uses (backward_compatible.py).
# Usage: deploy/migrations-only-grow.sh BASE
set -eu

# GitHub passes zeros for a branch that is pushed for the first time: there is no base.
case ${1:?which base?} in *[!0]*) ;; *) exit 0 ;; esac

changed=$(git diff --no-renames --name-only --diff-filter=a "$1" HEAD -- alembic/versions)
if [ -n "$changed" ]; then
	printf 'These migrations have already run. Add a new one instead:\n%s\n' "$changed" >&2
	exit 1
fi

exec python3 "$(dirname "$0")/backward_compatible.py" "$1"
