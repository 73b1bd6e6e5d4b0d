#!/usr/bin/env bash
# What to do when something is lost. Each scenario is one command; without an argument, a menu.
#   scripts/disaster_recovery.sh [catalog-lost | functions-corrupted] [options of `contentplatform`]
set -euo pipefail
platform=${CONTENTPLATFORM:-contentplatform}

usage() {
  cat >&2 <<'TEXT'
catalog-lost          this machine: make the database anew from the store's files and manifests, then check it
functions-corrupted   AWS: deploy again what this version of the platform says, then verify

A lost primary bucket, a lost region, a lost edge: not built in this version; docs/operations.md says what to do by hand.
TEXT
}

scenario=${1:-}
if [[ -z $scenario ]]; then
  if [[ ! -t 0 ]]; then
    usage
    exit 2
  fi
  select scenario in catalog-lost functions-corrupted; do
    [[ -n $scenario ]] && break
  done
else
  shift
fi

case $scenario in
  catalog-lost)
    "$platform" "$@" fsck --rebuild-catalog
    exec "$platform" "$@" verify
    ;;
  functions-corrupted)
    exec "$platform" --home aws "$@" deploy
    ;;
  *)
    usage
    exit 2
    ;;
esac
