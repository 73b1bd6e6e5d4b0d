"""Links and webhooks, put together: in the data folder's database, whichever home is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contentplatform.app.people import LatePeople
    from contentplatform.clock import Clock, IdSource
    from contentplatform.config import Settings
    from contentplatform.drivers.sqlite import Database
    from contentplatform.drivers.webcalls import WebCalls
    from contentplatform.hooks.port import Webhooks
    from contentplatform.sharing.port import Shares


@dataclass(frozen=True, slots=True)
class Links:
    """What reaches people and programs without an account."""

    shares: Shares
    webhooks: Webhooks


def open_links(settings: Settings, clock: Clock, ids: IdSource, database: Database, people: LatePeople) -> Links:
    """Links and webhooks of a data folder whose database is open; ``people`` tell whose links work."""
    from contentplatform.errors import NotFound  # noqa: PLC0415 - as below
    from contentplatform.hooks.local import LocalWebhooks  # noqa: PLC0415 - a lambda must not load the database
    from contentplatform.hooks.secrets import KEY_FILE_NAME, DerivedSecrets  # noqa: PLC0415
    from contentplatform.sharing.local import LocalShares  # noqa: PLC0415

    def lets_in(user_id: str) -> bool:
        try:
            return not people().accounts.user(user_id).is_disabled
        except NotFound:
            return False

    calls = web_calls(settings)
    secrets = DerivedSecrets(settings.data_folder / KEY_FILE_NAME, os.urandom)
    return Links(
        LocalShares(database, clock, ids, lets_in=lets_in),
        LocalWebhooks(database, clock, ids, calls.check, secrets),
    )


def web_calls(settings: Settings) -> WebCalls:
    """What sends requests to addresses that users gave, by the settings.

    Raises:
        ConfigurationInvalid: the ports of the settings are none.
    """
    from contentplatform.drivers.webcalls import CallRules, WebCalls, ports_of  # noqa: PLC0415 - as above
    from contentplatform.errors import ConfigurationInvalid, InvalidRequest  # noqa: PLC0415

    given = settings.sharing
    try:
        ports = ports_of(given.hook_ports)
    except InvalidRequest as error:
        raise ConfigurationInvalid("reading the settings", f"sharing.hook_ports: {error.why}") from error
    rules = CallRules(ports, allow_private=given.allow_private_hooks, timeout_seconds=given.hook_timeout_seconds)
    return WebCalls(rules)


class LateLinks:
    """Opens links when they are first asked for, as the home on AWS does: its functions never ask."""

    def __init__(self, opening: Callable[[], Links]) -> None:
        self._opening = opening
        self._opened: Links | None = None

    def __call__(self) -> Links:
        """Links and webhooks."""
        if self._opened is None:
            self._opened = self._opening()
        return self._opened
