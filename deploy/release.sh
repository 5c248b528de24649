#!/bin/sh
# Bring an install of compose.yaml to an image: the schema first, then the processes, then the checklist.
# Run in the folder of compose.yaml. Usage: deploy/release.sh IMAGE
#
# Migrations only add, so the release before works with the schema of this one: when the new one doesn't
# come up, `deploy/release.sh` with the image before takes it back.
set -eu

IMAGE=${1:?which image?}
export IMAGE

docker compose pull --quiet app redis proxy
docker compose run --rm --no-deps migrate
docker compose up --detach --wait --remove-orphans
docker compose exec --no-TTY app python -m aisaas check --production
