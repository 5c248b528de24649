#!/bin/sh
# Run a command in the folder `aisaas` of a host, with this checkout's compose.yaml and deploy/ in it.
# Usage: SSH_TARGET=deploy@host SSH_KEY=… SSH_KNOWN_HOSTS=… deploy/remote.sh COMMAND…
set -eu

keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
umask 077
printf '%s\n' "${SSH_KEY:?}" >"$keys/key"
printf '%s\n' "${SSH_KNOWN_HOSTS:?}" >"$keys/hosts"

remote() {
	# A host that isn't the known one is refused.
	ssh -i "$keys/key" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes \
		-o UserKnownHostsFile="$keys/hosts" "${SSH_TARGET:?}" "$@"
}

tar --create compose.yaml deploy | remote 'mkdir -p aisaas && tar --extract --directory aisaas'
remote "cd aisaas && $*"
