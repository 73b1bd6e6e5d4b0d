#!/usr/bin/env bash
# Is everything there and healthy? Puts files through a running home and looks at what comes out.
#   scripts/test_platform.sh [--home aws] [--data DIR] [--json]      (options of `contentplatform`)
# The exit status is that of `verify`: 0 healthy, 1 something failed.
set -euo pipefail
exec "${CONTENTPLATFORM:-contentplatform}" "$@" verify
