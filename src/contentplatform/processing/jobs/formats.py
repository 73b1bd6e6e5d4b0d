"""What people call a container, by FFmpeg's name of its demuxer: the ``format`` of a film's or a sound's facts."""

from __future__ import annotations

from typing import Final

_NAMES: Final = {
    "aac": "AAC",
    "ac3": "AC-3",
    "aiff": "AIFF",
    "amr": "AMR",
    "asf": "Windows Media",
    "avi": "AVI",
    "caf": "CAF",
    "dv": "DV",
    "eac3": "E-AC-3",
    "flac": "FLAC",
    "flv": "Flash Video",
    "matroska": "Matroska",
    "mov": "MP4",
    "mp3": "MP3",
    "mpeg": "MPEG program stream",
    "mpegts": "MPEG transport stream",
    "mxf": "MXF",
    "ogg": "Ogg",
    "w64": "Wave64",
    "wav": "WAV",
    "wv": "WavPack",
}


def format_name(demuxer: str) -> str:
    """FFmpeg's ``mov,mp4,m4a`` is ``MP4``; a name that nobody knows stays as it is."""
    first = demuxer.partition(",")[0]
    return _NAMES.get(first, first)
