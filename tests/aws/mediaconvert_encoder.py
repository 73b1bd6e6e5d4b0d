"""Does what a job of MediaConvert asks for, with the ffmpeg program: nothing of it by default, all of it as it says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg

_TURNS: Final = {"DEGREES_90": "transpose=1", "DEGREES_180": "hflip,vflip", "DEGREES_270": "transpose=2"}
_QUALITY: Final = {level: 31 - level for level in range(1, 11)}
"""x264's constant rate factor by the level of quality-defined VBR; about as good."""
_LONGEST_SECONDS: Final = 120


class Failed(Exception):  # noqa: N818 - a result of the service, not a fault of the test
    """The job ended with an error: the service's code and words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


def encode(settings: Mapping[str, Any], output: Mapping[str, Any], source: Path, made: Path) -> None:
    """Make one output of a job.

    Raises:
        Failed: it can't be made of this source.
    """
    [given] = settings["inputs"]
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-y"),
        *(() if given["videoSelector"]["rotate"] == "AUTO" else ("-noautorotate",)),
        *("-i", str(source), "-map", "0:v:0"),
        *_picture(given, output["videoDescription"]),
        *(part for sound in output.get("audioDescriptions", ()) for part in _sound(given, sound)),
        *("-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1", *_container(output["containerSettings"])),
        str(made),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LONGEST_SECONDS)
    if done.returncode:
        raise Failed(1_010, f"Unable to open input file [{given['fileInput']}]: [Failed probe/open: [No parser found]]")


def _picture(given: Mapping[str, Any], picture: Mapping[str, Any]) -> Iterator[str]:
    h264 = picture["codecSettings"]["h264Settings"]
    yield from ("-vf", ",".join(_filters(given, picture, h264)), "-c:v", "libx264", "-preset", "veryfast")
    yield from ("-pix_fmt", "yuv420p", "-profile:v", h264["codecProfile"].lower())
    yield from ("-crf", str(_QUALITY[h264["qvbrSettings"]["qvbrQualityLevel"]]))
    yield from ("-maxrate", str(h264["maxBitrate"]), "-bufsize", str(2 * h264["maxBitrate"]))
    if h264["gopSizeUnits"] == "SECONDS":
        yield from ("-force_key_frames", f"expr:gte(t,n_forced*{h264['gopSize']:g})")
    if h264.get("sceneChangeDetect") == "DISABLED":
        yield from ("-sc_threshold", "0")
    if picture.get("colorMetadata", "INSERT") == "INSERT":
        yield from ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv")


def _filters(given: Mapping[str, Any], picture: Mapping[str, Any], h264: Mapping[str, Any]) -> Iterator[str]:
    before = picture.get("videoPreprocessors", {})
    if "deinterlacer" in before:
        yield "bwdif=mode=send_frame:deint=interlaced"
    if given["videoSelector"]["rotate"] in _TURNS:
        yield _TURNS[given["videoSelector"]["rotate"]]
    if h264["framerateControl"] == "SPECIFIED":
        yield f"fps={h264['framerateNumerator']}/{h264['framerateDenominator']}:start_time=0"
    if before.get("colorCorrector", {}).get("hdrToSdrToneMapper"):
        yield "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius,zscale=t=bt709:m=bt709:r=tv"
    if picture["scalingBehavior"] != "STRETCH_TO_OUTPUT":
        raise Failed(1_040, "this stand-in stretches only")
    yield f"scale={picture['width']}:{picture['height']}"
    if h264["parControl"] == "SPECIFIED":
        yield f"setsar={h264['parNumerator']}/{h264['parDenominator']}"


def _sound(given: Mapping[str, Any], sound: Mapping[str, Any]) -> Iterator[str]:
    selector = given["audioSelectors"][sound["audioSourceName"]]
    tracks = selector.get("tracks", [1])
    aac = sound["codecSettings"]["aacSettings"]
    yield from ("-map", f"0:a:{tracks[0] - 1}", "-af", "aresample=async=1:first_pts=0")
    yield from ("-c:a", "aac", "-b:a", str(aac["bitrate"]), "-ar", str(aac["sampleRate"]))
    yield from ("-ac", {"CODING_MODE_2_0": "2", "CODING_MODE_1_0": "1"}[aac["codingMode"]])


def _container(container: Mapping[str, Any]) -> tuple[str, ...]:
    in_front = container.get("mp4Settings", {}).get("moovPlacement", "PROGRESSIVE_DOWNLOAD") == "PROGRESSIVE_DOWNLOAD"
    return (*(("-movflags", "+faststart") if in_front else ()), "-f", "mp4")
