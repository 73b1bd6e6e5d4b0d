"""What every function shares: one open home a container, outcomes by name, log, metrics and traces.

A function is a body over the services::

    @function
    def handle(call: Invocation) -> Result:
        return call.platform.steps.process_image(call.event)

**Outcomes.** What a body returns goes out as plain JSON. What it raises goes out as an exception whose class is named
as the workflow knows it, because that name is all that Step Functions' retriers see: a ``ProcessingFailed`` by its
code (``E_DECODE``), another error of the platform by its class (``Unavailable``), anything else as ``E_INTERNAL``. The
message is ``[E_DECODE] words for a person``; what is private, and every trace, stays in the function's log.

Nothing here talks to AWS before the first call. The home is opened once a container: while that starts on Lambda, else
by the first body that asks for it.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.tracing import Tracer

from contentplatform import app, config, log
from contentplatform.errors import ErrorCode, PlatformError, ProcessingFailed

if TYPE_CHECKING:
    from contentplatform.app import AwsHome, Platform

Event = Mapping[str, Any]
Result = dict[str, Any]

NAMESPACE: Final = "ContentPlatform"
"""Of the platform's own metrics, which have one dimension: ``service``."""
SERVICE: Final = "contentplatform"
"""The metrics' and traces' service; also the logger above every room's."""

FILES_FAILED: Final = "FilesFailed"
"""Metrics, all of them counts: versions that could not be processed,"""
KEYS_SEEN: Final = "KeysSeen"
"""what the reconciler looked at,"""
KEYS_MENDED: Final = "KeysMended"
"""found behind and mended,"""
KEYS_FAILED: Final = "KeysFailed"
"""and could not mend;"""
FILES_EXPORTED: Final = "FilesExported"
"""what questions can be put to;"""
BACKUPS_COMPARED: Final = "BackupsCompared"
"""the validator's sign of life,"""
VERSIONS_OVERDUE: Final = "VersionsOverdue"
"""and what it found that is not in the second copy, though older than the RPO."""

_FUNCTION: Final = "function"
_REQUEST: Final = "request_id"
_COLD: Final = "cold_start"
_PRIVATE: Final = "private"
_FIELDS_ATTRIBUTE: Final = log.FIELDS_ATTRIBUTE
_NAMED_FIELDS: Final = (log.BUCKET, log.KEY, log.VERSION_ID, log.FILE_ID, log.EXECUTION)
"""What of an event goes with every line that is logged while it is worked on."""
_STARTS_ON_LAMBDA: Final = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""Set by Lambda in every container."""
_UNEXPECTED: Final = "a fault of the platform, not of the file. The function's log tells more"
_logger: Final = logging.getLogger(__name__)


class Context(Protocol):
    """What Lambda tells of a call."""

    @property
    def function_name(self) -> str:
        """The function's own name."""
        ...

    @property
    def aws_request_id(self) -> str:
        """Names this call in every log of AWS."""
        ...

    def get_remaining_time_in_millis(self) -> int:
        """How long until Lambda kills it."""
        ...


class Container:
    """What one container keeps from call to call: the open home, the log, the metrics, the tracer.

    Args:
        open_home: opens the home; where that fails, the next call tries again.
    """

    def __init__(self, open_home: Callable[[], AwsHome]) -> None:
        self._open_home = open_home
        self._home: AwsHome | None = None
        self._is_fresh = True

    @property
    def home(self) -> AwsHome:
        """The home, opened once.

        Raises:
            ConfigurationInvalid: the function's settings don't allow it.
        """
        if self._home is None:
            self._home = self._open_home()
        return self._home

    def warm(self) -> None:
        """Open the home before the first call, if that can be done; why not, the first call will say."""
        try:
            home = self._open_home()
            home.prepare()
            self._home = home
        except Exception:  # noqa: BLE001 - an outer edge: here nobody could be told by an outcome's name
            self._home = None

    @property
    def log(self) -> Logger:
        """The log of every room, as lines of JSON on standard output, where Lambda reads it."""
        return configured_log()

    @functools.cached_property
    def metrics(self) -> EphemeralMetrics:
        """Lines of the log, too, from which CloudWatch takes them (embedded metric format)."""
        return EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)

    @functools.cached_property
    def tracer(self) -> Tracer:
        """X-Ray; silent where there is none to be told, as on the emulator."""
        return Tracer(
            service=SERVICE, disabled="AWS_XRAY_DAEMON_ADDRESS" not in os.environ, patch_modules=("botocore",)
        )

    def begins(self) -> bool:
        """Whether the call that asks is this container's first."""
        was_fresh, self._is_fresh = self._is_fresh, False
        return was_fresh


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a function."""

    event: Event
    context: Context
    container: Container
    is_first: bool = False
    """Of its container."""

    @property
    def home(self) -> AwsHome:
        """The open home."""
        return self.container.home

    @property
    def platform(self) -> Platform:
        """The services of the open home."""
        return self.container.home.platform

    def remaining_seconds(self) -> float:
        """How long until Lambda kills this call."""
        return self.context.get_remaining_time_in_millis() / 1_000

    def sweep_scratch(self) -> None:
        """In a container's first call: remove what a process of it that was killed left in /tmp, which may fill it."""
        swept = self.home.sweep_scratch() if self.is_first else 0
        if swept:
            log.event(_logger, logging.WARNING, "scratch swept", **{log.COUNT: swept})

    def count(self, metric: str, value: float = 1) -> None:
        """Add to a metric of the platform."""
        self.container.metrics.add_metric(metric, MetricUnit.Count, value)


Body = Callable[[Invocation], Result]


class Function:
    """A function as Lambda calls it, and the body that it is made of."""

    def __init__(self, body: Body, container: Container) -> None:
        self.body = body
        self._container = container

    def __call__(self, event: Event, context: Context) -> Result:
        """Run the body; what it raises goes out by the name that the workflow knows."""
        call = Invocation(event, context, self._container, self._container.begins())

        def handle(_event: Event, _context: Context) -> Result:
            return self._run(call)

        traced: Callable[[Event, Context], Result] = self._container.tracer.capture_lambda_handler(
            handle, capture_response=False
        )
        return traced(event, context)

    def on(self, container: Container) -> Function:
        """The same function in another container."""
        return Function(self.body, container)

    def _run(self, call: Invocation) -> Result:
        with self._container.log.append_context_keys(**_told(call)):
            try:
                if call.is_first:
                    self._container.metrics.add_cold_start_metric(call.context)  # type: ignore[arg-type]  # a class
                return self.body(call)
            except Exception as error:  # noqa: BLE001 - the outer edge: whatever it was becomes an outcome
                outcome = _outcome(error)
                _report(error, outcome)
            finally:
                if self._container.metrics.metric_set:
                    self._container.metrics.flush_metrics()
        raise outcome  # here, so that what it came from, with its trace, does not travel along


def open_home() -> AwsHome:
    """Open the home by the function's environment. What it writes on this machine goes to ``/tmp``."""
    folder = os.environ.get(f"{config.ENVIRONMENT_PREFIX}DATA") or f"{tempfile.gettempdir()}/contentplatform"
    return app.open_aws(config.load(data_folder=Path(folder)))


_container: Final = Container(open_home)


def function(body: Body) -> Function:
    """Make a body a function, in this process's one container.

    On Lambda the home is opened right away: while a container starts it has a whole processor, and afterwards only the
    share that the function's memory buys. That asks nothing of AWS.
    """
    if _STARTS_ON_LAMBDA in os.environ:
        _container.warm()
    return Function(body, _container)


# -- outcomes ----------------------------------------------------------------------------------------------------


def _outcome(error: Exception) -> Exception:
    """What Lambda is to report: ``errorType`` is the name of the class, ``errorMessage`` the text."""
    name, words = ErrorCode.INTERNAL.value, _UNEXPECTED
    if isinstance(error, ProcessingFailed):
        name, words = error.code.value, error.public
    elif isinstance(error, PlatformError):
        name, words = _name_in_the_tree(type(error)), error.public
    return _class_named(name)(f"[{name}] {words}")


def _name_in_the_tree(kind: type[PlatformError]) -> str:
    """The class's name, or for one that a room derived for itself, that of the error it stands for."""
    return next(parent.__name__ for parent in kind.__mro__ if parent.__module__ == PlatformError.__module__)


@functools.cache
def _class_named(name: str) -> type[Exception]:
    return type(name, (Exception,), {"__doc__": "An outcome, named as the workflow knows it."})


def _report(error: Exception, outcome: Exception) -> None:
    """Log a failure, once: what the platform knows of by its words, anything else with its trace."""
    fields = {log.ERROR_CODE: type(outcome).__name__, log.REASON: str(outcome)}
    if not isinstance(error, PlatformError):
        _logger.error("function failed unexpectedly", exc_info=error, extra={_FIELDS_ATTRIBUTE: fields})
        return
    level = logging.WARNING if error.retryable or isinstance(error, ProcessingFailed) else logging.ERROR
    log.event(_logger, level, "function failed", **fields, **({_PRIVATE: error.private} if error.private else {}))


# -- the log -----------------------------------------------------------------------------------------------------


def _told(call: Invocation) -> dict[str, Any]:
    """What every line of this call says."""
    named = {name: call.event[name] for name in _NAMED_FIELDS if isinstance(call.event.get(name), str)}
    return {
        _FUNCTION: call.context.function_name,
        _REQUEST: call.context.aws_request_id,
        _COLD: call.is_first,
        **named,
    }


@functools.cache
def configured_log() -> Logger:
    """The process's one log, set up when the first call begins."""
    formatter = _Formatter(utc=True, use_rfc3339=True, serialize_stacktrace=False, location="%(name)s")
    return Logger(service=SERVICE, logger_handler=_StandardOutput(), logger_formatter=formatter)


class _Formatter(LambdaPowertoolsFormatter):
    """Powertools' lines with the platform's names of fields, as ``log.JsonFormatter`` writes them elsewhere."""

    def serialize(self, log: Any) -> str:
        given = dict(log)
        fields = given.pop(_FIELDS_ATTRIBUTE, {})
        entry = {"level": given.pop("level").lower(), "logger": given.pop("location"), **given, **fields}
        return super().serialize(entry)


class _StandardOutput(logging.Handler):
    """Writes to what standard output is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(f"{self.format(record)}\n")
