"""Which containers and codecs untrusted bytes may reach, as data: everything that is not named here is refused.

Names are FFmpeg's. A demuxer is never guessed by FFmpeg: the sniff table names the type, and this table its demuxer,
so that no playlist, no subtitle file and no picture sequence ever poses as a film.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DEMUXERS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("video/mp4", "video/quicktime", "video/x-m4v", "video/3gpp", "audio/mp4"), "mov"),
    **dict.fromkeys(("video/webm", "video/x-matroska"), "matroska"),
    **dict.fromkeys(("video/ogg", "audio/ogg", "application/ogg"), "ogg"),
    "video/x-msvideo": "avi",
    "video/x-ms-asf": "asf",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mp2t": "mpegts",
    "application/mxf": "mxf",
    "video/x-dv": "dv",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/wav": "wav",
    "audio/x-w64": "w64",
    "audio/flac": "flac",
    "audio/aiff": "aiff",
    "audio/amr": "amr",
    "audio/x-caf": "caf",
    "audio/ac3": "ac3",
    "audio/eac3": "eac3",
    "audio/x-wavpack": "wv",
}
"""By the type that ``probe.sniff`` gives. No hls, dash, concat, image2, sdp, nor any subtitle demuxer."""

VIDEO_CODECS: Final[Mapping[str, tuple[str, ...]]] = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "av1": ("libdav1d", "av1"),
    "vp8": ("vp8", "libvpx"),
    "vp9": ("vp9", "libvpx-vp9"),
    "mpeg1video": ("mpeg1video",),
    "mpeg2video": ("mpeg2video",),
    "mpeg4": ("mpeg4",),
    "msmpeg4v3": ("msmpeg4",),
    "h263": ("h263",),
    "flv1": ("flv",),
    "vp6f": ("vp6f",),
    "wmv1": ("wmv1",),
    "wmv2": ("wmv2",),
    "wmv3": ("wmv3",),
    "vc1": ("vc1",),
    "mjpeg": ("mjpeg",),
    "theora": ("theora",),
    "prores": ("prores",),
    "dnxhd": ("dnxhd",),
    "dvvideo": ("dvvideo",),
    "ffv1": ("ffv1",),
}
"""Codec: the decoders that open it, in one build of FFmpeg or another."""

AUDIO_CODECS: Final[Mapping[str, tuple[str, ...]]] = {
    "aac": ("aac",),
    "mp1": ("mp1float",),
    "mp2": ("mp2float",),
    "mp3": ("mp3float",),
    "opus": ("opus", "libopus"),
    "vorbis": ("vorbis",),
    "flac": ("flac",),
    "alac": ("alac",),
    "ac3": ("ac3",),
    "eac3": ("eac3",),
    "dts": ("dca",),
    "truehd": ("truehd",),
    "mlp": ("mlp",),
    "wavpack": ("wavpack",),
    "wmav1": ("wmav1",),
    "wmav2": ("wmav2",),
    "wmapro": ("wmapro",),
    "wmalossless": ("wmalossless",),
    "amr_nb": ("amrnb",),
    "amr_wb": ("amrwb",),
    "speex": ("speex",),
    "adpcm_ms": ("adpcm_ms",),
    "adpcm_ima_wav": ("adpcm_ima_wav",),
    "adpcm_ima_qt": ("adpcm_ima_qt",),
    **{
        name: (name,)
        for name in (
            *("pcm_u8", "pcm_s8", "pcm_alaw", "pcm_mulaw", "pcm_bluray", "pcm_dvd", "pcm_s24daud"),
            *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
            *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
        )
    },
}
"""What teams that work with films and sounds have; DTS and TrueHD are on every disc.

Not among them, though FFmpeg decodes it, is what hardly anybody has: each decoder is a way in. Monkey's Audio, besides,
decodes for as long as its file wishes.
"""

SUBTITLE_CODECS: Final[Mapping[str, tuple[str, ...]]] = {
    "mov_text": ("mov_text",),
    "subrip": ("subrip", "srt"),
    "ass": ("ass", "ssa"),
    "webvtt": ("webvtt",),
    "text": ("text",),
}
"""Text only: pictures can't become WebVTT."""

COVER_CODECS: Final[Mapping[str, tuple[str, ...]]] = {"mjpeg": ("mjpeg",), "png": ("png",)}

LOSSLESS_AUDIO: Final = frozenset(
    {"flac", "alac", "wmalossless", "truehd", "mlp", *(name for name in AUDIO_CODECS if name.startswith("pcm_"))}
)
"""Always; of WavPack and DTS there are both sorts."""

DECODERS: Final = tuple(
    dict.fromkeys(
        decoder
        for codecs in (VIDEO_CODECS, AUDIO_CODECS, SUBTITLE_CODECS, COVER_CODECS)
        for decoders in codecs.values()
        for decoder in decoders
    )
)
"""FFmpeg's ``codec_whitelist``, joined by commas."""
