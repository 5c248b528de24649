#!/bin/sh
# Starts or removes the preview of a pull request: its own app, worker, and Redis, at its own address, with test
# keys. Run it in the folder of compose.yaml on the host for previews, where `.env` sets PREVIEW_DOMAIN.
# Usage: deploy/preview.sh up NUMBER IMAGE | deploy/preview.sh down NUMBER
set -eu

DOMAIN=${PREVIEW_DOMAIN:-$(sed -n 's/^PREVIEW_DOMAIN=//p' .env)}
case ${2:-} in
'' | *[!0-9]*) echo 'Pass the number of the pull request.' >&2 && exit 2 ;;
esac
PREVIEW=pr-$2
APP_URL=https://$PREVIEW.${DOMAIN:?set PREVIEW_DOMAIN in .env}
SITE=deploy/preview/sites/$PREVIEW.caddy
export PREVIEW APP_URL

preview() {
	docker compose --project-name "$PREVIEW" --file compose.yaml --file deploy/preview/compose.yaml "$@"
}

tell_proxy() {
	docker compose --project-name previews --file deploy/preview/proxy.yaml exec --no-TTY proxy \
		caddy reload --config /etc/caddy/Caddyfile
}

case $1 in
up)
	IMAGE=${3:?which image?}
	export IMAGE
	preview pull --quiet app redis
	preview run --rm --no-deps migrate
	preview up --detach --wait
	mkdir -p deploy/preview/sites
	printf '%s {\n\treverse_proxy %s:3000 {\n\t\tlb_try_duration 30s\n\t\tflush_interval -1\n\t}\n}\n' \
		"$APP_URL" "$PREVIEW" >"$SITE"
	tell_proxy
	echo "$APP_URL"
	;;
down)
	rm -f "$SITE"
	tell_proxy
	IMAGE=${3:-aisaas:latest}
	export IMAGE
	preview down --volumes --remove-orphans
	;;
*)
	echo 'Pass up or down.' >&2
	exit 2
	;;
esac
