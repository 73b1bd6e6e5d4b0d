#!/usr/bin/env bash
# How much does it take? 50 photos of 1 MiB, 10 at a time, each followed to its end, then removed again.
#   scripts/load_test.sh [--home aws] [--data DIR] [--json]          (options of `contentplatform`)
# FILES, SIZE (bytes) and AT_ONCE change the load. The exit status is that of `load-test`.
set -euo pipefail
exec "${CONTENTPLATFORM:-contentplatform}" "$@" load-test \
  --files "${FILES:-50}" --size "${SIZE:-1048576}" --at-once "${AT_ONCE:-10}"
