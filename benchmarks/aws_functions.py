"""How large each function of the home on AWS is, and how long it takes from nothing to being ready.

    python benchmarks/aws_functions.py [--rounds 5]

Each handler is imported by a new interpreter of Lambda's Python (that of `make emulator`), which finds the code, the
function's own layers and boto3, and nothing else; as on Lambda, that opens the home, too, and only what is Lambda's own
was compiled before: code and layers come as source and lie where nothing can be written. What Lambda itself adds
(fetching the code, starting the machine around it) is not measured here.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from contentplatform.lambdas.functions import FUNCTIONS, Function, Layer
from contentplatform_infra.code import PACKAGE, package_files
from contentplatform_infra.layers import ensure_built, files_of

PYTHON = Path(os.environ.get("CONTENTPLATFORM_EMULATOR", Path(__file__).parents[1] / ".emulator")) / "bin" / "python"
BAR_MILLISECONDS = 2_000.0
"""A cold start that a person notices least: the first file of a quiet hour waits for it once a function."""
BAR_SIZE_BYTES = 250 * 1024 * 1024
NEVER_NEEDED = {
    "apsw",
    "sqlite3",
    "click",
    "duckdb",
    "fastapi",
    "jinja2",
    "aws_cdk",
    "cryptography",
    "pyvips",
    "pi_heif",
}
"""Of other parts of the platform: whoever imports one of them made every start slower. Parsers run in children."""
PROGRAM = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
began = time.perf_counter()
__import__(sys.argv[2])
took = time.perf_counter() - began
print(json.dumps({"milliseconds": took * 1000, "modules": sorted(sys.modules)}))
"""


def started(function: Function, folders: list[Path], own: Path, compiled: Path, *, keep: bool) -> dict[str, Any]:
    """Import a handler in a new interpreter; how long that took, and what it loaded.

    What was compiled is looked for below ``compiled`` only, and left there with ``keep``.
    """
    paths = [str(PACKAGE.parent), *(str(folder / "python") for folder in folders), str(own)]
    environment = {
        "PATH": "/usr/bin:/bin",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "CONTENTPLATFORM_AWS_ACCOUNT_ID": "123456789012",
    }
    options = ["-I", "-S", "-X", f"pycache_prefix={compiled}", *([] if keep else ["-B"])]
    command = [str(PYTHON), *options, "-c", PROGRAM, json.dumps(paths), function.handler.rpartition(".")[0]]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return told


def zipped_size(files: list[Path]) -> int:
    """What the files take as a zip file: what Lambda has to fetch."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(files):
            archive.write(path, f"{number}")
    return len(held.getvalue())


def report(function: Function, built: dict[Layer, Path], own: Path, sizes: dict[str, int], rounds: int) -> bool:
    """Print a function's figures; whether it meets its bars."""
    folders = [built[layer] for layer in function.layers]
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch)
        started(function, folders, own, compiled, keep=True)
        for ours in (PACKAGE, *folders):
            shutil.rmtree(compiled / ours.relative_to("/"), ignore_errors=True)
        starts = [started(function, folders, own, compiled, keep=False) for _ in range(rounds)]
    milliseconds = statistics.median(start["milliseconds"] for start in starts)
    loaded = {name.partition(".")[0] for name in starts[-1]["modules"]}
    needless = sorted(loaded & NEVER_NEEDED)
    unpacked = sum(sizes[name] for name in ("code", *function.layers))
    zipped = sum(sizes[f"{name} zipped"] for name in ("code", *function.layers))
    modules = len(starts[-1]["modules"])
    print(
        f"{function.name:28} {unpacked / 1e6:6.1f} MB ({zipped / 1e6:5.1f} zipped)  "
        f"ready after {milliseconds:5.0f} ms, {modules} modules, needless: {', '.join(needless) or 'none'}",
        flush=True,
    )
    passed = milliseconds <= BAR_MILLISECONDS and unpacked <= BAR_SIZE_BYTES and not needless
    figure = {
        "name": f"aws_functions: {function.name}",
        "milliseconds": round(milliseconds),
        "unpacked_bytes": unpacked,
        "zipped_bytes": zipped,
        "needless_modules": needless,
        "passed": passed,
    }
    print(json.dumps(figure), flush=True)
    return passed


def main() -> int:
    """Print a line and a figure a function; 1 if one of them misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not PYTHON.exists():
        print(f"there is no {PYTHON}: run `make emulator`", file=sys.stderr)
        return 1
    built = ensure_built()
    own = next(PYTHON.parents[1].glob("lib/python3*/site-packages"))
    held: dict[str, list[Path]] = {"code": list(package_files())}
    held |= {layer.value: list(files_of(folder)) for layer, folder in built.items()}
    sizes = {name: sum(path.stat().st_size for path in files) for name, files in held.items()}
    sizes |= {f"{name} zipped": zipped_size(files) for name, files in held.items()}
    passed = [report(function, built, own, sizes, arguments.rounds) for function in FUNCTIONS]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
