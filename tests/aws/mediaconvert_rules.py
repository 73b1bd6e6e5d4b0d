"""What MediaConvert refuses of a job: by the service's own model, and by rules that it has and the model has not.

The model is botocore's: names, types, words, limits and patterns of every field, as they travel (``camelCase``). A
field that it doesn't know is refused; so is one that goes with another choice. Words follow the service's own: the path
of the field, then what is wrong with it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import botocore.session

TOKEN_LIMIT: Final = 64
TAGS_LIMIT: Final = 50
_AAC_LC_STEREO_48K: Final = frozenset(
    {64_000, 80_000, 96_000, 112_000, 128_000, 160_000, 192_000, 224_000, 256_000, 288_000, 320_000, 384_000, 448_000}
    | {512_000, 576_000}
)
_SETTINGS_OF_GROUP: Final = {"FILE_GROUP_SETTINGS": "fileGroupSettings"}
_SETTINGS_OF_CONTAINER: Final = {"MP4": "mp4Settings"}
_KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "integer": int,
    "long": int,
    "double": (int, float),
    "float": (int, float),
    "boolean": bool,
    "structure": dict,
    "map": dict,
    "list": list,
}


@functools.cache
def model() -> Any:
    """The service, as botocore knows it."""
    return botocore.session.Session().get_service_model("mediaconvert")


def problems(job: Mapping[str, Any]) -> list[str]:
    """Everything for which CreateJob would be refused; empty: it is taken."""
    by_model = list(_by_model(job, model().operation_model("CreateJob").input_shape, ""))
    return by_model or [*_of_request(job), *_of_settings(job["settings"])]


def _by_model(given: object, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(given, _KINDS[shape.type_name]) or (shape.type_name != "boolean" and isinstance(given, bool)):
        yield f"{path}: should be a {shape.type_name}"
        return
    value: Any = given
    match shape.type_name:
        case "structure":
            known = {
                member.serialization.get("name", name[0].lower() + name[1:]): (name, member)
                for name, member in shape.members.items()
            }
            yield from (f"{path}/{name}: is not allowed" for name in value if name not in known)
            for travelling, (name, member) in known.items():
                if travelling in value:
                    yield from _by_model(value[travelling], member, f"{path}/{travelling}")
                elif name in shape.required_members:
                    yield f"{path}/{travelling}: is a required property"
        case "list":
            for number, part in enumerate(value):
                yield from _by_model(part, shape.member, f"{path}/{number}")
        case "map":
            for name, part in value.items():
                yield from _by_model(part, shape.value, f"{path}/{name}")
        case _:
            yield from _of_scalar(value, shape, path)


def _of_scalar(value: Any, shape: Any, path: str) -> Iterator[str]:
    told = shape.metadata
    measured = len(value) if isinstance(value, str) else value
    if getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{path}: {value!r} is not one of {', '.join(shape.enum)}"
    if "min" in told and measured < told["min"]:
        yield f"{path}: should be at least {told['min']}"
    if "max" in told and measured > told["max"]:
        yield f"{path}: should be at most {told['max']}"
    if "pattern" in told and isinstance(value, str) and not re.search(told["pattern"], value):
        yield f"{path}: does not match {told['pattern']}"


# -- what the model doesn't say ----------------------------------------------------------------------------------


def _of_request(job: Mapping[str, Any]) -> Iterator[str]:
    token = job.get("clientRequestToken", "")
    if len(token) > TOKEN_LIMIT or not token.isascii():
        yield f"/clientRequestToken: up to {TOKEN_LIMIT} ASCII characters"
    if len(job.get("tags", {})) > TAGS_LIMIT:
        yield "/tags: too many"
    if not re.fullmatch(r"arn:aws:iam::\d{12}:role/.+", job["role"]):
        yield "/role: is no role's ARN"


def _of_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    for name in ("inputs", "outputGroups"):
        if not settings.get(name):
            yield f"/{name}: should have at least 1 item"
    if settings.get("timecodeConfig", {}).get("source") == "SPECIFIEDSTART":
        yield "/timecodeConfig/start: is a required property"
    for number, given in enumerate(settings.get("inputs", ())):
        yield from _of_input(given, f"/inputs/{number}")
    sounds = {name for given in settings.get("inputs", ()) for name in given.get("audioSelectors", {})}
    for number, group in enumerate(settings.get("outputGroups", ())):
        yield from _of_group(group, sounds, f"/outputGroups/{number}")


def _of_input(given: Mapping[str, Any], path: str) -> Iterator[str]:
    if "fileInput" not in given:
        yield f"{path}/fileInput: is a required property"
    for name, selector in given.get("audioSelectors", {}).items():
        if not re.fullmatch(r"Audio Selector \d+", name):
            yield f"{path}/audioSelectors/{name}: should be called Audio Selector and a number"
        if selector.get("selectorType") == "TRACK" and not selector.get("tracks"):
            yield f"{path}/audioSelectors/{name}/tracks: is a required property"
        remixed = selector.get("remixSettings")
        if remixed is not None:
            mapped = remixed.get("channelMapping", {}).get("outputChannels", ())
            if len(mapped) != remixed.get("channelsOut") or any(
                len(channel.get("inputChannels", ())) != remixed.get("channelsIn") for channel in mapped
            ):
                yield f"{path}/audioSelectors/{name}/remixSettings: does not map every channel"


def _of_group(group: Mapping[str, Any], sounds: set[str], path: str) -> Iterator[str]:
    told = group.get("outputGroupSettings", {})
    wanted = _SETTINGS_OF_GROUP.get(told.get("type", ""))
    if wanted is None or set(told) != {"type", wanted}:
        yield f"{path}/outputGroupSettings: needs a type, and that type's settings only"
        return
    destination = told[wanted].get("destination", "")
    if not re.fullmatch(r"s3://[a-z0-9.-]{3,63}/.+", destination) or "$" in destination:
        yield f"{path}/outputGroupSettings/{wanted}/destination: is no place to write to"
    outputs = group.get("outputs", ())
    modifiers = [output.get("nameModifier") for output in outputs]
    if len(outputs) > 1 and (None in modifiers or len(set(modifiers)) != len(modifiers)):
        yield f"{path}/outputs: each of several needs a name modifier of its own"
    for number, output in enumerate(outputs):
        yield from _of_output(output, sounds, f"{path}/outputs/{number}")


def _of_output(output: Mapping[str, Any], sounds: set[str], path: str) -> Iterator[str]:
    container = output.get("containerSettings", {})
    wanted = _SETTINGS_OF_CONTAINER.get(container.get("container", ""))
    if wanted is None or not set(container) <= {"container", wanted}:
        yield f"{path}/containerSettings: needs a container, and that container's settings only"
    if "videoDescription" not in output and "audioDescriptions" not in output:
        yield f"{path}: has neither picture nor sound"
    picture = output.get("videoDescription")
    if picture is not None:
        yield from _of_picture(picture, f"{path}/videoDescription")
    for number, sound in enumerate(output.get("audioDescriptions", ())):
        yield from _of_sound(sound, sounds, f"{path}/audioDescriptions/{number}")


def _of_picture(picture: Mapping[str, Any], path: str) -> Iterator[str]:
    for side in ("width", "height"):
        if picture.get(side, 0) % 2:
            yield f"{path}/{side}: must be even"
    told = picture.get("codecSettings", {})
    if told.get("codec") != "H_264" or set(told) != {"codec", "h264Settings"}:
        yield f"{path}/codecSettings: needs a codec, and that codec's settings only"
        return
    yield from _of_h264(told["h264Settings"], f"{path}/codecSettings/h264Settings")
    corrected = picture.get("videoPreprocessors", {}).get("colorCorrector", {})
    if "hdrToSdrToneMapper" in corrected and corrected.get("colorSpaceConversion") != "FORCE_709":
        yield f"{path}/videoPreprocessors/colorCorrector/hdrToSdrToneMapper: needs a conversion to SDR"


def _of_h264(h264: Mapping[str, Any], path: str) -> Iterator[str]:
    needs: dict[str, dict[str, tuple[str, ...]]] = {
        "rateControlMode": {"QVBR": ("qvbrSettings", "maxBitrate"), "VBR": ("bitrate",), "CBR": ("bitrate",)},
        "framerateControl": {"SPECIFIED": ("framerateNumerator", "framerateDenominator")},
        "parControl": {"SPECIFIED": ("parNumerator", "parDenominator")},
        "gopSizeUnits": {"SECONDS": ("gopSize",), "FRAMES": ("gopSize",)},
    }
    forbids: dict[str, dict[str, tuple[str, ...]]] = {
        "rateControlMode": {"QVBR": ("bitrate", "hrdBufferFinalFillPercentage"), "CBR": ("qvbrSettings", "maxBitrate")},
        "framerateControl": {"INITIALIZE_FROM_SOURCE": ("framerateNumerator", "framerateDenominator")},
        "parControl": {"INITIALIZE_FROM_SOURCE": ("parNumerator", "parDenominator")},
        "gopSizeUnits": {"AUTO": ("gopSize",)},
    }
    for choice, by_word in needs.items():
        if choice not in h264:
            yield f"{path}/{choice}: is a required property"
        yield from (
            f"{path}/{n}: is a required property" for n in by_word.get(h264.get(choice, ""), ()) if n not in h264
        )
    for choice, by_word in forbids.items():
        yield from (f"{path}/{n}: is not allowed" for n in by_word.get(h264.get(choice, ""), ()) if n in h264)
    if "qvbrSettings" in h264 and "qvbrQualityLevel" not in h264["qvbrSettings"]:
        yield f"{path}/qvbrSettings/qvbrQualityLevel: is a required property"


def _of_sound(sound: Mapping[str, Any], sounds: set[str], path: str) -> Iterator[str]:
    if sound.get("audioSourceName") not in sounds:
        yield f"{path}/audioSourceName: there is no selector of that name"
    told = sound.get("codecSettings", {})
    if told.get("codec") != "AAC" or set(told) != {"codec", "aacSettings"}:
        yield f"{path}/codecSettings: needs a codec, and that codec's settings only"
        return
    aac = told["aacSettings"]
    missing = [name for name in ("codingMode", "sampleRate", "bitrate") if name not in aac]
    yield from (f"{path}/codecSettings/aacSettings/{name}: is a required property" for name in missing)
    chosen = (aac.get("codecProfile", "LC"), aac.get("codingMode"), aac.get("sampleRate"))
    if chosen == ("LC", "CODING_MODE_2_0", 48_000) and aac.get("bitrate") not in _AAC_LC_STEREO_48K:
        yield f"{path}/codecSettings/aacSettings/bitrate: is not valid with this profile, coding mode and sample rate"
