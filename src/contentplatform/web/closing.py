"""Answers that hold something open while they are sent."""

from __future__ import annotations

from abc import abstractmethod

import anyio
from anyio import to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class ClosingResponse(StreamingResponse):
    """A stream behind which something is closed, however it ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream, then close."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self.close)

    @abstractmethod
    def close(self) -> None:
        """Let go of what was held open. Called in a thread."""
