#!/bin/sh
# Deploys an image: migrates the schema, replaces the processes, then runs the checklist.
# Run it in the folder of compose.yaml. Usage: deploy/release.sh IMAGE
#
# Migrations only add, so the previous release works on the new schema. If the new release doesn't start, run
# `deploy/release.sh` with the previous image to roll back.
set -eu

IMAGE=${1:?which image?}
export IMAGE

docker compose pull --quiet app redis proxy
docker compose run --rm --no-deps migrate
docker compose up --detach --wait --remove-orphans
docker compose exec --no-TTY app python -m aisaas check --production
