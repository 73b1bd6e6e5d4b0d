"""Webhooks' secrets: derived from a key that lies beside the database, so that a copy of the database signs nothing.

A secret has to be known again for each message, so no digest of it would do, as of links and tokens. What the database
keeps is which key and which chance it is derived from. A secret of before that was so stands there in clear, and is
used until the webhook gets another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contentplatform.drivers.secret_files import first_secret
from contentplatform.errors import ConfigurationInvalid
from contentplatform.hooks.port import SECRET_BYTES, SECRET_PREFIX

KEY_FILE_NAME: Final = "webhook-signing.key"
_KEY_BYTES: Final = 32
_KEPT: Final = re.compile(r"derived:([0-9a-f]{8}):([0-9a-f]{32})")


class DerivedSecrets:
    """Makes secrets, and knows them again.

    Args:
        path: of the file with the key, which is made when the first secret is.
        random: so many bytes of chance.
    """

    def __init__(self, path: Path, random: Callable[[int], bytes]) -> None:
        self._path = path
        self._random = random

    def new(self) -> tuple[str, str]:
        """A secret, and what is kept of it."""
        key, chance = self._key(), self._random(16).hex()
        return _derived(key, chance), f"derived:{_id_of(key)}:{chance}"

    def known(self, kept: str) -> str:
        """The secret of which this was kept.

        Raises:
            ConfigurationInvalid: the key that it was derived from is not there any more.
        """
        if kept.startswith(SECRET_PREFIX):
            return kept
        found, key = _KEPT.fullmatch(kept), self._key()
        if found is None or not hmac.compare_digest(found[1], _id_of(key)):
            raise ConfigurationInvalid(
                "signing a message",
                f"{KEY_FILE_NAME} is not the one that the webhook's secret was made with",
                hint="Put the file back, or give the webhook another secret",
            )
        return _derived(key, found[2])

    def _key(self) -> bytes:
        try:
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            text = first_secret(self._path, f"{self._random(_KEY_BYTES).hex()}\n", self._random(8).hex())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationInvalid(f"reading {KEY_FILE_NAME}", "the file can't be read") from error
        if re.fullmatch(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}\n", text) is None:
            raise ConfigurationInvalid(f"reading {KEY_FILE_NAME}", "the file is damaged", hint="Put it back")
        return bytes.fromhex(text)


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"id of " + key).hexdigest()[:8]


def _derived(key: bytes, chance: str) -> str:
    told = hmac.new(key, f"webhook {chance}".encode(), hashlib.sha256).digest()[:SECRET_BYTES]
    return SECRET_PREFIX + base64.b64encode(told).decode("ascii")
