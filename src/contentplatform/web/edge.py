"""The edge of the local home as a part of the site, or as a site of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contentplatform.app.local import LocalHome
    from contentplatform.delivery.serving import EdgeApp


def build_edge(home: LocalHome) -> EdgeApp:
    """A new edge over a home, pictures on the fly included: one a process and event loop. Whoever asks closes it.

    It answers every path that it is given; what belongs to it begins as ``app.EDGE_PREFIXES`` say.
    """
    return home.edge_app()
