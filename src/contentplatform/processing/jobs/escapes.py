"""The characters that a text of HTML's family writes as ``&amp;`` or ``&#38;``: never fails, whatever is written."""

from __future__ import annotations

import html
import re
from typing import Final

_TOO_LONG: Final = re.compile(r"&#(?:[0-9]{12}[0-9]*+|[xX][0-9A-Fa-f]{12}[0-9A-Fa-f]*+);?")
"""No character has such a number, and Python refuses to make one of thousands of digits."""


def unescaped(text: str) -> str:
    """``text`` with the characters that its references stand for."""
    return html.unescape(_TOO_LONG.sub("\N{REPLACEMENT CHARACTER}", text))
