"""How the pages say numbers, times and names."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final

from contentplatform.catalog.port import Record
from contentplatform.media import MediaKind, ProcessingStatus
from contentplatform.workflow.port import ExecutionStatus

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_WEEK: Final = 604_800

KIND_WORDS: Final[dict[MediaKind, tuple[str, str]]] = {
    MediaKind.IMAGE: ("Image", "Images"),
    MediaKind.VIDEO: ("Video", "Videos"),
    MediaKind.AUDIO: ("Sound", "Sounds"),
    MediaKind.DOCUMENT: ("Document", "Documents"),
    MediaKind.GENERIC: ("Other file", "Other files"),
}
STATUS_WORDS: Final[dict[ProcessingStatus, tuple[str, str]]] = {
    ProcessingStatus.PENDING: ("Waiting", "busy"),
    ProcessingStatus.PROCESSING: ("Processing", "busy"),
    ProcessingStatus.COMPLETED: ("Ready", "good"),
    ProcessingStatus.FAILED: ("Failed", "bad"),
    ProcessingStatus.SUPERSEDED: ("Replaced", ""),
}
EXECUTION_WORDS: Final[dict[ExecutionStatus, tuple[str, str]]] = {
    ExecutionStatus.PENDING: ("Waiting", "care"),
    ExecutionStatus.RUNNING: ("Running", "busy"),
    ExecutionStatus.SUCCEEDED: ("Done", "good"),
    ExecutionStatus.FAILED: ("Failed", "bad"),
    ExecutionStatus.CANCELLED: ("Cancelled", ""),
}
"""The word, and how its badge looks."""
STEP_WORDS: Final = {
    "DetermineFileType": "Finding out what it is",
    "ProcessImage": "Making pictures",
    "ProcessVideo": "Beginning to encode",
    "WaitForVideoProcessing": "Encoding",
    "CheckVideoStatus": "Encoding",
    "IsVideoProcessingComplete": "Encoding",
    "FinishVideo": "Making streams and captions",
    "ProcessAudio": "Making sounds",
    "ProcessDocument": "Reading the document",
    "ProcessGeneric": "Looking at it",
    "UpdateMetadata": "Writing down what was found",
    "InvalidateCloudFrontCache": "Telling the edge",
    "RecordFailure": "Writing down why it failed",
}
"""What the workflow's states do, for people."""


def size(size_bytes: int | None) -> str:
    """A size, in powers of 1 000."""
    if size_bytes is None:
        return ""
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes any size")


def count(number: int, one: str, many: str = "") -> str:
    """``1 file``, ``1 204 files``."""
    return f"{grouped(number)} {one if number == 1 else many or one + 's'}"


def grouped(number: int) -> str:
    """A number with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u202f")


def moment(at: datetime | None) -> str:
    """``3 May 2026, 14:02 UTC``."""
    return "" if at is None else f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def day(at: datetime | None) -> str:
    """``3 May 2026``."""
    return "" if at is None else f"{at.astimezone(UTC):%-d %b %Y}"


def ago(at: datetime, now: datetime) -> str:
    """How long ago, until a week; then the day."""
    seconds = int((now - at).total_seconds())
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR} h ago"
    if seconds < _WEEK:
        return count(seconds // _DAY, "day") + " ago"
    return day(at)


def length(seconds: float | None) -> str:
    """``0:07``, ``1:02:03``; empty where it is not known."""
    if not isinstance(seconds, int | float):
        return ""
    whole = round(seconds)
    hours, minutes, rest = whole // _HOUR, whole % _HOUR // _MINUTE, whole % _MINUTE
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def lasted(since: datetime | None, until: datetime | None) -> str:
    """How long something took."""
    if since is None or until is None:
        return ""
    seconds = max((until - since).total_seconds(), 0)
    return f"{seconds:.1f} s" if seconds < _MINUTE else length(seconds)


def shown(text: object) -> str:
    """``text`` with everything escaped that would not be seen, or would turn the rest around."""
    return "".join(
        character
        if unicodedata.category(character) not in _UNSEEN or character in "\n\t"
        else f"\\u{{{ord(character):x}}}"
        for character in str(text)
    )


def name_of(record: Record) -> str:
    """What a file is called on its page: its title, else the last part of its key."""
    return record.title or record.file_path.rpartition("/")[2] or record.file_path
