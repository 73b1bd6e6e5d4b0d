"""Makes an image's renditions: a task of the workflow. The image is parsed by a fenced-in child of this process."""

from __future__ import annotations

import logging
from typing import Final

from contentplatform import log
from contentplatform.lambdas.runtime import Invocation, Result, function

_logger: Final = logging.getLogger(__name__)


@function
def handle(call: Invocation) -> Result:
    """Make the renditions, or take those of the same content."""
    if call.is_first:
        _prepare(call)
    return call.platform.steps.process_image(call.event)


def _prepare(call: Invocation) -> None:
    """Sweep up after a process of this container that was killed; say, once, what this kernel can't fence off."""
    swept = call.home.sweep_scratch()
    gaps = call.home.gaps()
    if swept or gaps:
        log.event(_logger, logging.WARNING, "sandbox prepared", gaps=gaps, **{log.COUNT: swept})
