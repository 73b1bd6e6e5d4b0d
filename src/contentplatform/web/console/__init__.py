"""The console: pages that people like to use, over any home."""

from contentplatform.web.console.site import console_app

__all__ = ["console_app"]
