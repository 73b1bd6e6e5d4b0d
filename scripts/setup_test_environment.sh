#!/usr/bin/env bash
# Makes what the tests need: the project's environment, the AWS emulator's, and a library with sample media to try.
#   scripts/setup_test_environment.sh [DATA_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:-demo-data}
make install emulator
.venv/bin/contentplatform --data "$data" demo
printf 'Ready. Try: .venv/bin/contentplatform --data %q list\n' "$data"
