"""Makes the films and sounds that tests need, with the ffmpeg program, so that none of them lies in the repository.

Each function gives a path to a clip that is made once a process; nobody writes to it. The upright picture is red,
green, blue and yellow from the top left to the bottom right, in ``SIZE`` or its portrait form, with moving noise.
The sound is a tone of 440 Hz.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import imageio_ffmpeg

import sample_media

SIZE: Final = (320, 180)
SECONDS: Final = 2.0
FRAME_RATE: Final = 25
_FAST: Final = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_AAC: Final = ("-c:a", "aac", "-b:a", "96k")
_X265: Final = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1")
_MASTERING: Final = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)

ENGLISH: Final = ((0.2, 0.9, "Good morning"), (1.0, 1.8, "Tom & Jerry <3"))
GERMAN: Final = ((0.2, 0.9, "Guten Morgen"), (1.0, 1.8, "Grüße aus Köln"))
FORCED: Final = ((0.5, 1.5, "[Schild: Ausgang]"),)


@functools.cache
def folder() -> Path:
    """Where the clips of this process are."""
    path = Path(tempfile.mkdtemp(prefix="sample-clips-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def ffmpeg(*arguments: str) -> None:
    """Run the ffmpeg program; its words are in the error where it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-y", *arguments]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300)
    if ended.returncode:
        raise AssertionError(f"ffmpeg {' '.join(arguments)}: {ended.stderr.decode(errors='replace')[-2000:]}")


def picture(
    width: int = SIZE[0], height: int = SIZE[1], *, rate: float = FRAME_RATE, seconds: float = SECONDS
) -> tuple[str, ...]:
    """Arguments for an input of moving pictures: the four quarters."""
    left, top = width // 2, height // 2
    quarters = (
        ("0xDC1E1E", left, top, "a"),
        ("0x1EB428", width - left, top, "b"),
        ("0x283CDC", left, height - top, "c"),
        ("0xE6D228", width - left, height - top, "d"),
    )
    colours = ";".join(f"color=c={c}:s={w}x{h}:r={rate}:d={seconds}[{n}]" for c, w, h, n in quarters)
    joined = "[a][b]hstack[t];[c][d]hstack[u];[t][u]vstack,noise=alls=12:allf=t"
    return "-f", "lavfi", "-i", f"{colours};{joined}"


def tone(*, seconds: float = SECONDS, rate_hz: int = 48_000, layout: str = "stereo") -> tuple[str, ...]:
    """Arguments for an input of sound: 440 Hz at -20 dBFS on every channel."""
    count = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    wave = "|".join(["0.1*sin(2*PI*440*t)"] * count)
    return "-f", "lavfi", "-i", f"aevalsrc={wave}:s={rate_hz}:c={layout}:d={seconds}"


def _made(name: str, *arguments: str) -> Path:
    path = folder() / name
    # Other processes have folders of their own, so a file that is here is whole.
    ffmpeg(*arguments, "-bitexact", str(path))
    return path


# -- films -----------------------------------------------------------------------------------------------------------


@functools.cache
def film() -> Path:
    """An ordinary one: H.264 and AAC in MP4, two seconds."""
    return _made("film.mp4", *picture(), *tone(), *_FAST, *_AAC, "-metadata", "title=A film")


@functools.cache
def portrait_phone() -> Path:
    """As telephones write it: 320x180 lying on its side, with a matrix that turns it upright to 180x320."""
    lying = _made("lying.mov", *picture(180, 320, rate=30), *tone(), "-vf", "transpose=2", *_FAST, *_AAC)
    return _made("portrait.mov", "-display_rotation", "-90", "-i", str(lying), "-c", "copy")


@functools.cache
def turned(degrees: int) -> Path:
    """An upright film that has to be turned clockwise by 0, 90, 180 or 270 ``degrees`` first."""
    size, turns = {
        0: (SIZE, "null"),
        90: (SIZE[::-1], "transpose=2"),
        180: (SIZE, "hflip,vflip"),
        270: (SIZE[::-1], "transpose=1"),
    }[degrees]
    stored = _made(f"stored-{degrees}.mp4", *picture(*size), "-vf", turns, *_FAST)
    return _made(f"turned-{degrees}.mp4", "-display_rotation", str(-degrees), "-i", str(stored), "-c", "copy")


@functools.cache
def odd_sized() -> Path:
    """161x91, VP9 and Opus in WebM."""
    codecs = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p", "-c:a", "libopus")
    return _made("odd.webm", *picture(161, 91), *tone(), *codecs)


@functools.cache
def variable_frame_rate() -> Path:
    """A second of 25 frames, then one of 8, with gaps of different lengths."""
    choice = "select='lt(n,25)+not(mod(n,3))'"
    return _made("variable.mp4", *picture(), *tone(), "-vf", choice, "-fps_mode", "vfr", *_FAST, *_AAC)


@functools.cache
def hdr10() -> Path:
    """HEVC in 10 bits, BT.2020, PQ, with the mastering display's facts."""
    colour = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited:hdr10=1:repeat-headers=1"
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv")
    parameters = ("-x265-params", f"log-level=error:{colour}:{_MASTERING}")
    return _made("hdr10.mp4", *picture(seconds=1), *tone(seconds=1), *_X265, *parameters, *tags, *_AAC)


@functools.cache
def hlg() -> Path:
    """HEVC in 10 bits, BT.2020, HLG, as telephones film."""
    colour = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc:range=limited"
    tags = ("-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc", "-color_range", "tv")
    parameters = ("-x265-params", f"log-level=error:{colour}")
    return _made("hlg.mov", *picture(seconds=1), *tone(seconds=1), *_X265, *parameters, *tags, *_AAC)


@functools.cache
def silent() -> Path:
    """A film without a track of sound."""
    return _made("silent.mp4", *picture(), *_FAST)


@functools.cache
def surround() -> Path:
    """A film in 5.1."""
    return _made("surround.mp4", *picture(), *tone(layout="5.1"), *_FAST, "-c:a", "aac", "-b:a", "256k")


@functools.cache
def mono() -> Path:
    """A film with one channel of sound, 22.05 kHz."""
    return _made("mono.mp4", *picture(), *tone(layout="mono", rate_hz=22_050), *_FAST, *_AAC)


@functools.cache
def anamorphic() -> Path:
    """240x180 stored, pixels 4:3 as wide as high: 320x180 shown."""
    return _made("anamorphic.mp4", *picture(240, 180), "-vf", "setsar=4/3", *_FAST)


@functools.cache
def interlaced() -> Path:
    """MPEG-2 in a transport stream, top field first, 25 frames of two fields."""
    fields = (
        "-vf",
        "tinterlace=interleave_top,fieldorder=tff",
        "-flags",
        "+ilme+ildct",
        "-c:v",
        "mpeg2video",
        "-pix_fmt",
        "yuv420p",
    )
    return _made("interlaced.ts", *picture(rate=50), *tone(), *fields, "-b:v", "1M", "-c:a", "mp2")


@functools.cache
def see_through() -> Path:
    """VP9 with an alpha channel."""
    codec = (
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-pix_fmt",
        "yuva420p",
        "-auto-alt-ref",
        "0",
    )
    return _made("alpha.webm", *picture(), "-vf", "format=yuva420p,colorchannelmixer=aa=0.5", *codec)


@functools.cache
def prores_alpha() -> Path:
    """ProRes 4444 with an alpha channel."""
    return _made(
        "alpha.mov",
        *picture(seconds=0.4),
        *("-vf", "format=yuva444p10le,colorchannelmixer=aa=0.5", "-c:v", "prores_ks", "-profile:v", "4444"),
    )


@functools.cache
def three_subtitles_mkv() -> Path:
    """SubRip in English, ASS in German, SubRip in German that is forced; and a font attached."""
    english, german, forced = (subrip(name, lines) for name, lines in _tracks())
    font = folder() / "font.ttf"
    font.write_bytes(b"\0\1\0\0" + bytes(400))
    return _made(
        "subtitles.mkv",
        *picture(),
        *tone(),
        *("-i", str(english), "-i", str(german), "-i", str(forced)),
        *("-map", "0:v", "-map", "1:a", "-map", "2", "-map", "3", "-map", "4"),
        *_FAST,
        *_AAC,
        *("-c:s:0", "srt", "-c:s:1", "ass", "-c:s:2", "srt", "-disposition:s:2", "forced"),
        *_languages(),
        *("-attach", str(font), "-metadata:s:t", "mimetype=font/ttf"),
    )


@functools.cache
def three_subtitles_mp4() -> Path:
    """The same three as timed text in MP4."""
    english, german, forced = (subrip(name, lines) for name, lines in _tracks())
    return _made(
        "subtitles.mp4",
        *picture(),
        *tone(),
        *("-i", str(english), "-i", str(german), "-i", str(forced)),
        *("-map", "0:v", "-map", "1:a", "-map", "2", "-map", "3", "-map", "4"),
        *_FAST,
        *_AAC,
        *("-c:s", "mov_text", "-disposition:s:2", "forced"),
        *_languages(),
    )


def _tracks() -> tuple[tuple[str, tuple[tuple[float, float, str], ...]], ...]:
    return ("english.srt", ENGLISH), ("german.srt", GERMAN), ("forced.srt", FORCED)


def _languages() -> tuple[str, ...]:
    return (
        *("-metadata:s:a:0", "language=eng"),
        *("-metadata:s:s:0", "language=eng", "-metadata:s:s:0", "title=English"),
        *("-metadata:s:s:1", "language=ger", "-metadata:s:s:1", "title=Deutsch"),
        *("-metadata:s:s:2", "language=ger", "-metadata:s:s:2", "title=Schilder"),
    )


def subrip(name: str, lines: tuple[tuple[float, float, str], ...]) -> Path:
    """A file of subtitles: start, end in seconds, text."""
    path = folder() / name
    blocks = (f"{n}\n{_clock(a)} --> {_clock(b)}\n{text}\n" for n, (a, b, text) in enumerate(lines, 1))
    path.write_text("\n".join(blocks), "utf-8")
    return path


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    return f"00:00:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


@functools.cache
def chapters() -> Path:
    """A film of two chapters: ``Morning`` to 0.8 s, ``Evening`` to its end."""
    return _made(
        "chapters.mp4",
        *picture(),
        *tone(),
        *("-i", str(_chapter_list()), "-map", "0:v", "-map", "1:a", "-map_metadata", "2"),
        *_FAST,
        *_AAC,
    )


def _chapter_list() -> Path:
    path = folder() / "chapters.txt"
    parts = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
        for start, end, title in ((0, 800, "Morning"), (800, 2000, "Evening"))
    )
    path.write_text(f";FFMETADATA1\ntitle=Two parts\n{parts}", "utf-8")
    return path


# -- films in other containers ---------------------------------------------------------------------------------------


@functools.cache
def avi() -> Path:
    """MPEG-4 part 2 and MP3."""
    return _made("film.avi", *picture(), *tone(), "-c:v", "mpeg4", "-c:a", "libmp3lame")


@functools.cache
def wmv() -> Path:
    """Windows Media, pictures and sound."""
    return _made("film.wmv", *picture(), *tone(), "-c:v", "wmv2", "-c:a", "wmav2")


@functools.cache
def flv() -> Path:
    """Flash: Sorenson's codec and MP3."""
    return _made("film.flv", *picture(), *tone(rate_hz=44_100), "-c:v", "flv", "-c:a", "libmp3lame")


@functools.cache
def program_stream() -> Path:
    """MPEG-2 as on a DVD."""
    return _made("film.mpg", *picture(), *tone(), "-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob")


@functools.cache
def transport_stream() -> Path:
    """H.264 and AAC as cameras and broadcasters write."""
    return _made("film.ts", *picture(), *tone(), *_FAST, *_AAC)


@functools.cache
def ogv() -> Path:
    """Theora and Vorbis."""
    return _made("film.ogv", *picture(), *tone(), "-c:v", "libtheora", "-c:a", "libvorbis")


@functools.cache
def mxf() -> Path:
    """MPEG-2 and PCM as cameras of broadcasters write."""
    return _made("film.mxf", *picture(), *tone(), "-c:v", "mpeg2video", "-c:a", "pcm_s16le")


@functools.cache
def dv() -> Path:
    """A camcorder's raw stream, PAL, five frames."""
    return _made("film.dv", *picture(720, 576, seconds=0.2), *tone(seconds=0.2), "-pix_fmt", "yuv420p", "-f", "dv")


@functools.cache
def three_gpp() -> Path:
    """H.263 and AMR, from a telephone of 2004."""
    codecs = ("-c:v", "h263", "-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", "-b:a", "12.2k")
    return _made("film.3gp", *picture(176, 144), *tone(layout="mono", rate_hz=8_000), *codecs)


@functools.cache
def magic_yuv() -> Path:
    """A codec that is not on the list."""
    return _made("magic.avi", *picture(seconds=0.2), "-c:v", "magicyuv", "-pix_fmt", "gbrp")


# -- sounds ----------------------------------------------------------------------------------------------------------

SONG: Final = {"title": "A song", "artist": "Zoë Müller", "album": "Tönende Stücke", "date": "2024", "genre": "Folk"}
COVER_SIZE: Final = (200, 200)


@functools.cache
def cover() -> Path:
    """A picture of four quarters, JPEG."""
    path = folder() / "cover.jpg"
    path.write_bytes(sample_media.encoded(sample_media.quarters(*COVER_SIZE), "JPEG", quality=90))
    return path


@functools.cache
def with_cover(extension: str) -> Path:
    """A tagged sound with a cover: ``mp3``, ``m4a`` or ``flac``."""
    codec = {"mp3": ("libmp3lame",), "m4a": ("aac",), "flac": ("flac",)}[extension]
    return _made(
        f"cover.{extension}",
        *tone(rate_hz=44_100),
        *("-i", str(cover()), "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic"),
        *("-c:a", *codec),
        *(part for name, text in SONG.items() for part in ("-metadata", f"{name}={text}")),
    )


@functools.cache
def sound(extension: str, *codec: str) -> Path:
    """Two seconds of the tone, no cover, in the container of ``extension``; ``codec`` are more arguments."""
    name = "-".join(("sound", *(word.strip("-").replace(":", "") for word in codec)))
    return _made(f"{name}.{extension}", *tone(), *codec)


@functools.cache
def two_hours_of_silence() -> Path:
    """FLAC, one channel of 8 kHz, 7 200 s."""
    return _made("silence.flac", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "7200", "-c:a", "flac")


@functools.cache
def sound_in_a_films_container(extension: str) -> Path:
    """``mp4``, ``webm``, ``mkv`` or ``wmv`` without a track of pictures."""
    codec = {"mp4": "aac", "webm": "libopus", "mkv": "flac", "wmv": "wmav2"}[extension]
    return _made(f"only-sound.{extension}", *tone(), "-c:a", codec)
