"""A video's plan as a job of MediaConvert: policy data in, the request's JSON out. Talks to nobody.

Everything that the presets and the plan say is said to the service; nothing that costs its higher tier is asked for
(one pass, no acceleration, at most 60 frames a second).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.encoding import frame_rate
from contentplatform.processing.port import MediaFacts, Rung, TranscodeRequest, VideoTrack
from contentplatform.processing.presets import VIDEO_PRESETS, VideoPreset

ROLE_PARAMETER: Final = "/contentplatform/mediaconvert/role-arn"
"""Where SSM keeps the role under which the service reads and writes."""
DEFAULT_QUEUE: Final = "Default"
"""Every account has it: on demand, priced by the minute."""
STAGING: Final = "staging"
"""Folder of a version's own folder: what a job reads, and notes of which job it was."""
EXECUTION_FIELD: Final = "execution"
"""User metadata of a job: which execution asked for it. By it a job is found whose id was lost."""
TAGS: Final[Mapping[str, str]] = {"Project": "ContentPlatform", "Environment": "Production", "CostCenter": "Media"}
"""What the bill is told apart by."""
SMALLEST_SIDE: Final = 32
"""Pixels: the service makes no smaller picture."""
_SAME_RATE: Final = 0.001
_USUAL_PRIMARIES: Final = frozenset({"", "bt709"})
_SOUND: Final = "Audio Selector 1"
_ROTATION_IS_READ_IN: Final = frozenset({"mov", "mp4", "m4v"})
"""Containers whose rotation the service finds by itself."""
_ROTATIONS: Final = {90: "DEGREES_90", 180: "DEGREES_180", 270: "DEGREES_270"}
_PRESETS: Final = {preset.name: preset for preset in VIDEO_PRESETS}


def client_token(token: str) -> str:
    """What the service knows a repeated request by: at most 64 characters of ASCII."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_job(request: TranscodeRequest, *, source: str, bucket_name: str, role_arn: str, queue_arn: str) -> Any:
    """The parameters of CreateJob.

    Args:
        request: what is to be made, of what.
        source: where the service reads the film, as ``s3://bucket/key``.
        bucket_name: of the processed bucket, where the rungs go.
        role_arn: the role under which the service reads and writes.
        queue_arn: where the job waits for its turn.

    Raises:
        ProcessingFailed: the service can't make this.
    """
    track = _shown(request)
    return {
        "ClientRequestToken": client_token(request.token),
        "Role": role_arn,
        "Queue": queue_arn,
        "UserMetadata": {
            EXECUTION_FIELD: request.token,
            "file_id": request.file_id,
            "version_id": request.version_id,
        },
        "Tags": dict(TAGS),
        "AccelerationSettings": {"Mode": "DISABLED"},
        "StatusUpdateInterval": "SECONDS_60",
        "Settings": {
            "TimecodeConfig": {"Source": "ZEROBASED"},
            "Inputs": [_input(request.facts, track, source)],
            "OutputGroups": [
                {
                    "Name": "MP4",
                    "OutputGroupSettings": {
                        "Type": "FILE_GROUP_SETTINGS",
                        "FileGroupSettings": {"Destination": f"s3://{bucket_name}/{_folder(request.rungs)}"},
                    },
                    "Outputs": [_output(rung, track, request.facts) for rung in request.rungs],
                }
            ],
        },
    }


def _shown(request: TranscodeRequest) -> VideoTrack:
    """The track that is encoded.

    Raises:
        ProcessingFailed: there is none, or it would be too small.
    """
    doing = f"encoding {request.key}"
    if not request.facts.video or not request.rungs:
        raise ProcessingFailed(doing, "there is no picture in it", code=ErrorCode.UNSUPPORTED)
    small = [rung for rung in request.rungs if min(rung.width, rung.height) < SMALLEST_SIDE]
    if small:
        raise ProcessingFailed(
            doing,
            f"MediaConvert makes no video smaller than {SMALLEST_SIDE} pixels a side, "
            f"and this one would be {small[0].width}x{small[0].height}",
            code=ErrorCode.UNSUPPORTED,
        )
    return request.facts.video[0]


def _folder(rungs: tuple[Rung, ...]) -> str:
    """The folder of all rungs. As the destination's last part it is the base of their names (``_output``)."""
    [folder] = {rung.stored_key.rpartition("/")[0] for rung in rungs}
    return folder


def _input(facts: MediaFacts, track: VideoTrack, source: str) -> dict[str, Any]:
    selected = {"ColorSpace": "FOLLOW", "Rotate": _rotation(facts, track), "AlphaBehavior": "DISCARD"}
    told: dict[str, Any] = {"FileInput": source, "TimecodeSource": "ZEROBASED", "VideoSelector": selected}
    if facts.audio:
        told["AudioSelectors"] = {_SOUND: _heard(facts)}
    return told


def _rotation(facts: MediaFacts, track: VideoTrack) -> str:
    if facts.format in _ROTATION_IS_READ_IN:
        return "AUTO"
    return _ROTATIONS.get(track.rotation_degrees, "DEGREE_0")


def _heard(facts: MediaFacts) -> dict[str, Any]:
    """The track that is heard first, by its place among those of sound."""
    first = facts.audio[0]
    place = sorted(track.index for track in facts.audio).index(first.index) + 1
    selected: dict[str, Any] = {"SelectorType": "TRACK", "Tracks": [place], "DefaultSelection": "DEFAULT"}
    if first.channels == 1:  # on both sides; more than two channels the service mixes down by itself
        selected["RemixSettings"] = {
            "ChannelsIn": 1,
            "ChannelsOut": 2,
            "ChannelMapping": {"OutputChannels": [{"InputChannels": [0]}, {"InputChannels": [0]}]},
        }
    return selected


def _output(rung: Rung, track: VideoTrack, facts: MediaFacts) -> dict[str, Any]:
    """One file. Its key is the destination, the name modifier, a dot and the extension, written one after the other."""
    name, _, extension = rung.stored_key.rpartition("/")[2].rpartition(".")
    made: dict[str, Any] = {
        "NameModifier": f"/{name}",
        "Extension": extension,
        "ContainerSettings": {
            "Container": "MP4",
            "Mp4Settings": {"MoovPlacement": "PROGRESSIVE_DOWNLOAD", "CslgAtom": "INCLUDE", "FreeSpaceBox": "EXCLUDE"},
        },
        "VideoDescription": _picture(rung, track),
    }
    if rung.audio_bits_per_second and facts.audio:
        made["AudioDescriptions"] = [_sound(rung)]
    return made


def _picture(rung: Rung, track: VideoTrack) -> dict[str, Any]:
    picture: dict[str, Any] = {
        "Width": rung.width,
        "Height": rung.height,
        # The plan keeps the aspect, but for the pixel that even sides cost: bars would be worse than that.
        "ScalingBehavior": "STRETCH_TO_OUTPUT",
        "RespondToAfd": "NONE",
        "TimecodeInsertion": "DISABLED",
        "ColorMetadata": "INSERT",
        "CodecSettings": {"Codec": "H_264", "H264Settings": _h264(rung, _PRESETS[rung.name], track)},
    }
    before = {**_deinterlacing(track), **_in_usual_colours(track)}
    if before:
        picture["VideoPreprocessors"] = before
    return picture


def _h264(rung: Rung, preset: VideoPreset, track: VideoTrack) -> dict[str, Any]:
    return {
        "RateControlMode": "QVBR",
        "QvbrSettings": {"QvbrQualityLevel": preset.qvbr_level},
        "MaxBitrate": rung.video_bits_per_second,
        "QualityTuningLevel": "SINGLE_PASS_HQ",
        "CodecProfile": preset.profile.upper(),
        "CodecLevel": "AUTO",
        "EntropyEncoding": "CABAC",
        "AdaptiveQuantization": "AUTO",
        "InterlaceMode": "PROGRESSIVE",
        "ParControl": "SPECIFIED",
        "ParNumerator": 1,
        "ParDenominator": 1,
        # Key frames at the same times in every rung: a player changes rungs at them, and nowhere else.
        "GopSize": preset.key_frame_seconds,
        "GopSizeUnits": "SECONDS",
        "GopClosedCadence": 1,
        "MinIInterval": 0,
        "SceneChangeDetect": "DISABLED",
        **_frame_rate(track),
    }


def _frame_rate(track: VideoTrack) -> dict[str, Any]:
    """The rate that the rungs have at home, too: the source's own, where that is constant and not too fast."""
    wanted = frame_rate(track)
    if not track.frame_rate_varies and abs(float(wanted) - track.frame_rate) < _SAME_RATE * track.frame_rate:
        return {"FramerateControl": "INITIALIZE_FROM_SOURCE"}
    return {
        "FramerateControl": "SPECIFIED",
        "FramerateNumerator": wanted.numerator,
        "FramerateDenominator": wanted.denominator,
        "FramerateConversionAlgorithm": "DUPLICATE_DROP",
    }


def _deinterlacing(track: VideoTrack) -> dict[str, Any]:
    if not track.interlaced:
        return {}
    return {"Deinterlacer": {"Mode": "DEINTERLACE", "Algorithm": "INTERPOLATE", "Control": "NORMAL"}}


def _in_usual_colours(track: VideoTrack) -> dict[str, Any]:
    """Every screen shows BT.709; what was made for another is converted, high dynamic range by its tones."""
    if not track.hdr and track.color_primaries in _USUAL_PRIMARIES:
        return {}
    tones = {"HdrToSdrToneMapper": "PRESERVE_DETAILS"} if track.hdr else {}
    return {"ColorCorrector": {"ColorSpaceConversion": "FORCE_709", **tones}}


def _sound(rung: Rung) -> dict[str, Any]:
    return {
        "AudioSourceName": _SOUND,
        "AudioTypeControl": "FOLLOW_INPUT",
        "LanguageCodeControl": "FOLLOW_INPUT",
        "CodecSettings": {
            "Codec": "AAC",
            "AacSettings": {
                "CodecProfile": "LC",
                "CodingMode": "CODING_MODE_2_0",
                "RateControlMode": "CBR",
                "Bitrate": rung.audio_bits_per_second,
                "SampleRate": _PRESETS[rung.name].audio_sample_rate_hz,
                "Specification": "MPEG4",
                "RawFormat": "NONE",
            },
        },
    }
