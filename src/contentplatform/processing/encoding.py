"""The command line that encodes a video: one process, one decode, all rungs; and how what it says is understood.

Pure: nothing here starts a process. Every argument is generated from numbers and from words of our own tables; neither
a file's name nor anything that a file says of itself gets into one.

* The source is descriptor 3, opened by the one demuxer that the probe found, with decoders from the allow-list only.
* Of it the first picture and the first sound are taken by their numbers; data, subtitles, cover art, metadata and
  chapters are left behind.
* Pictures come out upright, square in their pixels, progressive, opaque, 8 bits, in the colours of BT.709; of high
  dynamic range, tone-mapped. Frames come at a constant rate of at most 60 a second, also where the source's varies:
  only then is there a frame wherever a key frame is due, and both rungs have the same ones.
* Both tracks begin at zero: a late picture is shown from the beginning, before a late sound is silence, gaps in a
  sound are filled. So they keep together however the source counts time.
* A damaged frame ends the run (``-xerror``): FFmpeg would conceal it, and nobody would ever be told. A second run goes
  on after damage, and what it says is counted (``damage``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Final

from contentplatform.errors import ErrorCode, NoSpace, PlatformError, ProcessingFailed
from contentplatform.processing.codecs import AUDIO_CODECS, DECODERS, DEMUXERS, VIDEO_CODECS
from contentplatform.processing.damage import GRAVE
from contentplatform.processing.port import MediaFacts, Rung, VideoTrack
from contentplatform.processing.presets import VIDEO_PRESETS, VideoLimits, VideoPreset

SOURCE_DESCRIPTOR: Final = 3
SOFTWARE: Final = "software"
AUTO: Final = "auto"
ENCODING: Final = "encoding the video"

_THREADS: Final = 2
"""Of each decoder and encoder: fixed, so that a machine with more cores encodes the same bytes, within its limits.

One job keeps about five cores busy: a decoder, two filter graphs, two encoders. On two cores four threads each took 6 %
more processor time, for waking one another.
"""
_FILTER_THREADS: Final = 1
"""Of each filter graph; each rung has a graph of its own."""
_DECODERS: Final = tuple(dict.fromkeys((*DECODERS, *VIDEO_CODECS, *AUDIO_CODECS)))
"""By the codecs' own names, too: the program looks at headers with the decoders that are called so."""
_SEEING_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these don't see what is transparent."""
_HIGHEST_RATE: Final = 60
_LOWEST_RATE: Final = 5
"""Key frames have to be two seconds apart, so a slide show gets frames in between; they cost next to nothing."""
_RATE_OF_MOTION: Final = 23
"""Below this, an average over a varying rate says that it stood still for long, not how fast it moves."""
_STANDARD_RATES: Final = tuple(
    sorted(
        [*(Fraction(rate) for rate in (24, 25, 30, 50, 60)), *(Fraction(rate * 1000, 1001) for rate in (24, 30, 60))]
    )
)
_SAME_RATE: Final = 0.002
_HIGH_DEFINITION_LINES: Final = 720
_STEREO: Final = 2
_LAYOUT_CHANNELS: Final = 8
"""Beyond, a layout that is not told can't be guessed."""
_MATRICES: Final = frozenset({"bt709", "smpte170m", "bt470bg", "fcc", "smpte240m", "bt2020nc", "bt2020c"})
_PRIMARIES: Final = frozenset(
    {"bt709", "smpte170m", "bt470bg", "bt470m", "smpte240m", "bt2020", "smpte432", "smpte431"}
)
_WIDE_PRIMARIES: Final = frozenset({"bt2020", "smpte432", "smpte431"})
_TRANSFERS: Final = frozenset({"bt709", "smpte170m", "bt2020-10", "bt2020-12", "iec61966-2-1"})
_PQ: Final = "smpte2084"
_HLG: Final = "arib-std-b67"
_BT709: Final = "setsar=1,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


@dataclass(frozen=True, slots=True)
class Encoder:
    """A way to make H.264."""

    name: str
    codec: str
    """FFmpeg's name of it."""
    options: tuple[str, ...]
    by_quality: bool = True
    """It holds a quality below the cap; else it aims at a share of the cap."""
    quality_option: str = ""
    device: tuple[str, ...] = ()
    """Options that open it."""
    upload: str = ""
    """Filters that bring a frame to it."""
    files: tuple[str, ...] = ()
    """Of the kernel's, that it needs; patterns as the shell's."""


_SOFTWARE: Final = Encoder(
    name=SOFTWARE,
    codec="libx264",
    # Measured: at this preset one process makes both rungs of a detailed film in 1.8 times real time on two cores.
    # Key frames where they are asked for, and nowhere else: segments of all rungs begin together.
    options=("-preset", "veryfast", "-x264-params", "scenecut=0:open-gop=0", "-forced-idr", "1"),
    quality_option="-crf",
)
HARDWARE: Final = (
    Encoder(
        name="nvenc",
        codec="h264_nvenc",
        options=("-preset", "p5", "-rc", "vbr", "-b:v", "0", "-forced-idr", "1", "-no-scenecut", "1"),
        quality_option="-cq",
        files=("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
    ),
    Encoder(
        name="qsv",
        codec="h264_qsv",
        options=("-preset", "faster", "-forced_idr", "1", "-adaptive_i", "0"),
        quality_option="-global_quality",
        files=("/dev/dri/renderD*",),
    ),
    Encoder(
        name="vaapi",
        codec="h264_vaapi",
        options=("-rc_mode", "VBR"),
        by_quality=False,
        device=("-init_hw_device", "vaapi=hardware:/dev/dri/renderD128", "-filter_hw_device", "hardware"),
        upload=",format=nv12,hwupload",
        files=("/dev/dri/renderD*",),
    ),
    Encoder(
        name="videotoolbox",
        codec="h264_videotoolbox",
        options=("-allow_sw", "0"),
        by_quality=False,
    ),
)
"""In the order in which ``auto`` tries them."""
ENCODER_NAMES: Final = (SOFTWARE, AUTO, *(encoder.name for encoder in HARDWARE))
"""What the setting may say."""
_SHARE_OF_CAP: Final = 0.6


def encoders(setting: str) -> tuple[Encoder, ...]:
    """The encoders to try, in order; the last one is software's.

    Raises:
        ValueError: there is no such setting.
    """
    if setting not in ENCODER_NAMES:
        raise ValueError(f"there is no video encoder {setting!r}: choose from {', '.join(ENCODER_NAMES)}")
    wanted = tuple(encoder for encoder in HARDWARE if setting in {AUTO, encoder.name})
    return (*wanted, _SOFTWARE)


# -- the command line ------------------------------------------------------------------------------------------------


def file_name(rung: Rung) -> str:
    """What a rung's file is called in the scratch folder."""
    return f"{rung.name}.mp4"


def command(
    facts: MediaFacts, rungs: Sequence[Rung], encoder: Encoder = _SOFTWARE, *, goes_on: bool = False
) -> tuple[str, ...]:
    """The arguments, without the program, that encode all rungs of what descriptor 3 holds into the current folder.

    With ``goes_on``, damage does not end it, but is concealed.

    Raises:
        ProcessingFailed: it can't be encoded truly: a container that is not allowed, colours that nobody else knows.
    """
    return (
        # Only at that level it tells in the end how much was decoded.
        *("-hide_banner", "-nostdin", "-loglevel", "repeat+level+verbose", "-y"),
        *(() if goes_on else ("-xerror",)),
        *("-progress", "pipe:1", "-nostats", "-stats_period", "0.5"),
        *encoder.device,
        *_input(facts),
        *("-filter_complex_threads", str(_FILTER_THREADS)),
        *(word for graph in graphs(facts, rungs, encoder) for word in ("-filter_complex", graph)),
        *(word for rung in rungs for word in _output(facts, rung, encoder)),
    )


def trial(encoder: Encoder) -> tuple[str, ...]:
    """The arguments that encode a few grey frames to nowhere: whether this machine has that encoder."""
    return (
        *("-hide_banner", "-nostdin", "-loglevel", "error", "-xerror", *encoder.device),
        *("-f", "lavfi", "-i", "color=gray:size=320x240:rate=10:duration=0.5"),
        *("-vf", f"format=yuv420p{encoder.upload}", "-c:v", encoder.codec),
        *(*encoder.options, *_rate_control(encoder, VIDEO_PRESETS[-1], 1_000_000), "-f", "null", "-"),
    )


def _input(facts: MediaFacts) -> tuple[str, ...]:
    if facts.format not in set(DEMUXERS.values()):
        raise ProcessingFailed(
            ENCODING, "its container is not one that is opened here", code=ErrorCode.UNSUPPORTED, private=facts.format
        )
    track = facts.video[0]
    seeing = _SEEING_DECODERS.get(track.codec) if track.has_alpha else None
    decoder = (f"-c:{track.index}", seeing) if seeing else ()
    return (
        *("-protocol_whitelist", "fd", "-format_whitelist", facts.format, "-codec_whitelist", ",".join(_DECODERS)),
        *("-f", facts.format, "-max_pixels", str(VideoLimits().pixels), "-threads", str(_THREADS), *decoder),
        *("-fd", str(SOURCE_DESCRIPTOR), "-i", "fd:"),
    )


def _output(facts: MediaFacts, rung: Rung, encoder: Encoder) -> tuple[str, ...]:
    preset = next(preset for preset in VIDEO_PRESETS if preset.name == rung.name)
    sound = (
        *("-map", f"[{rung.name}-sound]", "-c:a", "aac", "-profile:a", "aac_low"),
        *("-b:a", str(rung.audio_bits_per_second), "-flags:a", "+bitexact"),
    )
    return (
        *("-map", f"[{rung.name}]", "-c:v", encoder.codec, "-threads", str(_THREADS), *encoder.options),
        *_rate_control(encoder, preset, rung.video_bits_per_second),
        *("-profile:v", preset.profile, "-g", str(ceil(preset.key_frame_seconds * frame_rate(facts.video[0])))),
        *("-force_key_frames", f"expr:gte(t,n_forced*{preset.key_frame_seconds:g})", "-fps_mode", "vfr"),
        *("-color_range", "tv", "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"),
        *(sound if facts.audio and rung.audio_bits_per_second else ()),
        *("-dn", "-sn", "-map_metadata", "-1", "-map_chapters", "-1"),
        *("-fflags", "+bitexact", "-flags:v", "+bitexact"),
        *("-movflags", "+faststart", "-f", "mp4", file_name(rung)),
    )


def _rate_control(encoder: Encoder, preset: VideoPreset, cap: int) -> tuple[str, ...]:
    quality = (encoder.quality_option, str(preset.constant_rate_factor))
    target = ("-b:v", str(int(cap * _SHARE_OF_CAP)))
    # A buffer of two seconds, one group of pictures.
    return (*(quality if encoder.by_quality else target), "-maxrate", str(cap), "-bufsize", str(2 * cap))


# -- pictures and sound ----------------------------------------------------------------------------------------------


def graphs(facts: MediaFacts, rungs: Sequence[Rung], encoder: Encoder = _SOFTWARE) -> tuple[str, ...]:
    """The filters between the one decode and the rungs' encoders; each graph has a thread of its own.

    Each rung has a graph, unless there is something costly to be done once before them.
    """
    track = facts.video[0]
    whole = [*_deinterlaced(track), f"fps={frame_rate(track)}:start_time=0"]
    once = _once(track, rungs[0])
    scale = _scaled_again if once else _scaled
    ends = [f"{scale(track, rung)},format=yuv420p,{_BT709}{encoder.upload}[{rung.name}]" for rung in rungs]
    begin = f"[0:{track.index}]{','.join([*whole, *once])}"
    if once or track.interlaced:
        pads = [f"[{rung.name}-picture]" for rung in rungs]
        chains = [pad + end for pad, end in zip(pads, ends, strict=True)]
        pictures = [";".join([f"{begin},split={len(rungs)}{''.join(pads)}", *chains])]
    else:
        pictures = [f"{begin},{end}" for end in ends]
    return (*pictures, *([_sound(facts, rungs)] if facts.audio else []))


def frame_rate(track: VideoTrack) -> Fraction:
    """How many frames a second come out: the source's own rate, constant, between 5 and 60.

    Above 60, every second (third, …) frame is kept, so that motion stays even. Where the source's rate varies, the
    standard rate that is not below its average, and at least 30 where it stood still for long.
    """
    average = track.frame_rate
    if not average or (track.frame_rate_varies and average < _RATE_OF_MOTION):
        return Fraction(30)
    if average > _HIGHEST_RATE * (1 + _SAME_RATE):
        average /= ceil(average / (_HIGHEST_RATE * (1 + _SAME_RATE)))
    if track.frame_rate_varies:
        return next(rate for rate in (*_STANDARD_RATES, Fraction(60)) if rate >= min(average * 0.99, _HIGHEST_RATE))
    standard = min(_STANDARD_RATES, key=lambda rate: abs(rate - average))
    if abs(standard - average) < _SAME_RATE * average / 2:
        return standard
    return max(Fraction(average).limit_denominator(1001), Fraction(_LOWEST_RATE))


def _deinterlaced(track: VideoTrack) -> list[str]:
    # Frames that say they are whole are let through.
    return ["bwdif=mode=send_frame:deint=interlaced"] if track.interlaced else []


def _once(track: VideoTrack, rung: Rung) -> list[str]:
    """What is costly, and so done once, on the largest rung's size: tone mapping, wide colours, transparency."""
    if track.hdr:
        return _tone_mapped(track, rung)
    if track.has_alpha:
        return _opaque(track, rung)
    if track.color_primaries in _WIDE_PRIMARIES:
        return [
            _plain_scale(rung),
            "format=yuv444p10le",
            (
                f"zscale=pin={track.color_primaries}:tin={_transfer(track)}:min={_matrix(track)}:rin={_range(track)}"
                ":p=bt709:t=bt709:m=bt709:r=limited"
            ),
        ]
    return []


def _tone_mapped(track: VideoTrack, rung: Rung) -> list[str]:
    """Into the range of an ordinary screen: linear light, the smaller gamut, and a curve that keeps middle tones."""
    transfer = track.color_transfer
    if transfer not in {_PQ, _HLG}:
        if track.hdr == "dolby-vision" and transfer not in _TRANSFERS:
            raise ProcessingFailed(
                ENCODING,
                "its Dolby Vision has no picture that other players can show (profile 5)",
                code=ErrorCode.UNSUPPORTED,
                hint="Export it as HDR10, HLG or standard range",
            )
        if track.hdr == "dolby-vision":
            return []  # its base layer is of standard range
        transfer = _HLG if track.hdr == "hlg" else _PQ
    matrix = track.color_space if track.color_space in {"bt2020nc", "bt2020c", "bt709"} else "bt2020nc"
    primaries = track.color_primaries if track.color_primaries in _PRIMARIES else "bt2020"
    return [
        _plain_scale(rung),
        "format=yuv420p10le",
        f"zscale=pin={primaries}:tin={transfer}:min={matrix}:rin={_range(track)}:t=linear:npl=100",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=tonemap=mobius:desat=0",
        "zscale=t=bt709:m=bt709:r=limited",
    ]


def _opaque(track: VideoTrack, rung: Rung) -> list[str]:
    """Laid on white."""
    return [
        f"scale=w={rung.width}:h={rung.height}:flags=bicubic:in_color_matrix={_matrix(track)}",
        "format=rgba",
        "split=2[over][under];[under]lutrgb=r=255:g=255:b=255:a=255[white];[white][over]overlay=format=rgb",
        "scale=out_color_matrix=bt709:out_range=tv",
        "format=yuv444p",
    ]


def _plain_scale(rung: Rung) -> str:
    return f"scale=w={rung.width}:h={rung.height}:flags=bicubic"


def _scaled(track: VideoTrack, rung: Rung) -> str:
    colours = f"in_color_matrix={_matrix(track)}:in_range={_range(track)}:out_color_matrix=bt709:out_range=tv"
    return f"{_plain_scale(rung)}:{colours}"


def _scaled_again(_track: VideoTrack, rung: Rung) -> str:
    return f"{_plain_scale(rung)}:in_color_matrix=bt709:in_range=tv:out_color_matrix=bt709:out_range=tv"


def _matrix(track: VideoTrack) -> str:
    """How its colours are coded; where it doesn't tell, as players take it: by its size."""
    if track.color_space in _MATRICES:
        return track.color_space
    return "bt709" if track.coded_height >= _HIGH_DEFINITION_LINES else "smpte170m"


def _range(track: VideoTrack) -> str:
    is_full = track.color_range in {"pc", "full", "jpeg"} or track.pixel_format.startswith("yuvj")
    return "full" if is_full else "limited"


def _transfer(track: VideoTrack) -> str:
    return track.color_transfer if track.color_transfer in _TRANSFERS else "bt709"


def _sound(facts: MediaFacts, rungs: Sequence[Rung]) -> str:
    track = facts.audio[0]
    heard = [rung for rung in rungs if rung.audio_bits_per_second]
    mix = []
    if track.channels == 1:
        mix = ["pan=stereo|c0=c0|c1=c0"]  # both sides as loud as the one was
    elif track.channels > _LAYOUT_CHANNELS and not track.channel_layout:
        mix = ["pan=stereo|c0=c0|c1=c1"]
    rate = VIDEO_PRESETS[0].audio_sample_rate_hz
    steps = [
        *mix,
        f"aresample={rate}:async=1:first_pts=0",
        "aformat=sample_fmts=fltp:channel_layouts=stereo",
        # Several channels on one side add up to more than full scale in loud scenes only: those are held down, rather
        # than the whole film made quiet.
        *(["alimiter=limit=0.95:level=false:latency=true"] if track.channels > _STEREO else []),
        f"asplit={len(heard)}{''.join(f'[{rung.name}-sound]' for rung in heard)}",
    ]
    return f"[0:{track.index}]{','.join(steps)}"


# -- what it says ----------------------------------------------------------------------------------------------------


class Progress:
    """Reads FFmpeg's progress, line by line."""

    def __init__(self, duration_seconds: float) -> None:
        self._duration_seconds = duration_seconds
        self.done_seconds = 0.0
        """How far into the film it is; back at the beginning where a crashed run is tried once more."""

    def take(self, line: str) -> None:
        """Take in a line; what is none of ours is passed over."""
        name, _, value = line.strip().partition("=")
        if name == "out_time_us" and _NUMBER.fullmatch(value):
            self.done_seconds = int(value) / 1e6

    @property
    def percent(self) -> int:
        """0 to 99: the rest is for what comes after the last frame."""
        if self._duration_seconds <= 0:
            return 0
        return max(0, min(99, int(100 * self.done_seconds / self._duration_seconds)))

    @property
    def is_beyond(self) -> bool:
        """Whether there is far more film than the probe found: its time stamps are made to never end."""
        return self.done_seconds > self._duration_seconds * _BEYOND_SHARE + _BEYOND_SECONDS


_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_BEYOND_SHARE: Final = 1.25
_BEYOND_SECONDS: Final = 60.0
_PRIVATE_CHARACTERS: Final = 2_000
_KEPT: Final = "Try to save it again in another program"

_NO_SPACE_WORDS: Final = ("No space left on device", "File too large", "Disk quota exceeded")
_NO_INDEX_WORDS: Final = ("moov atom not found",)
_REFUSED_WORDS: Final = ("not on whitelist", "not in allow", "Decoder not found", "no decoder found", "Unknown decoder")
_BROKEN_WORDS: Final = (
    "corrupt decoded frame",
    "corrupt input packet",
    "Error submitting packet to decoder",
    "Error processing packet in decoder",
    "Decoding error",
    "Invalid data found",
    "Error during demuxing",
    "received no packets",
    "Decode error rate",
)


def failure(exit_code: int, complaints: str) -> PlatformError | None:
    """Why a run was no success; None where it was one. ``complaints`` is what it wrote to its second output."""
    if not exit_code:
        return None
    # Other lines quote the film, and its title may say anything.
    complaints = "\n".join(line for line in complaints.splitlines() if GRAVE.match(line))
    private = complaints[-_PRIVATE_CHARACTERS:]
    if _has(complaints, _NO_SPACE_WORDS):
        return NoSpace(ENCODING, "the disk is full", hint="Free some space; it is tried again", private=private)
    if _has(complaints, _NO_INDEX_WORDS):
        return _broken("its end is missing: it was cut off", private)
    if _has(complaints, _REFUSED_WORDS):
        return ProcessingFailed(
            ENCODING, "it has a format that is not opened here", code=ErrorCode.UNSUPPORTED, hint=_KEPT, private=private
        )
    if _has(complaints, _BROKEN_WORDS):
        return _broken("a part of it is damaged: the decoder refused it", private)
    return ProcessingFailed(
        ENCODING,
        f"the encoder gave up (exit code {exit_code})",
        code=ErrorCode.INTERNAL,
        hint="The operator's log tells more",
        private=private,
    )


def too_damaged(words: str) -> ProcessingFailed:
    """The error for a film of which so much is lost that nobody should take it for the film."""
    return _broken(f"too much of it is damaged: {words}", "")


def _broken(why: str, private: str) -> ProcessingFailed:
    return ProcessingFailed(ENCODING, why, code=ErrorCode.DECODE, hint=_KEPT, private=private)


def _has(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def device_files(encoder: Encoder) -> tuple[Path, ...]:
    """The files of this machine that the encoder needs."""
    root = Path("/")
    return tuple(path for pattern in encoder.files for path in sorted(root.glob(pattern.removeprefix("/"))))
