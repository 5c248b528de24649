#!/bin/sh
# Copies this checkout's compose.yaml and deploy/ to the folder `aisaas` on a host and runs a command there.
# Usage: SSH_TARGET=deploy@host SSH_KEY=… SSH_KNOWN_HOSTS=… deploy/remote.sh COMMAND…
set -eu

keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
umask 077
printf '%s\n' "${SSH_KEY:?}" >"$keys/key"
printf '%s\n' "${SSH_KNOWN_HOSTS:?}" >"$keys/hosts"

remote() {
	# Refuses a host whose key isn't the known one.
	ssh -i "$keys/key" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes \
		-o UserKnownHostsFile="$keys/hosts" "${SSH_TARGET:?}" "$@"
}

tar --create compose.yaml deploy | remote 'mkdir -p aisaas && tar --extract --directory aisaas'
remote "cd aisaas && $*"
