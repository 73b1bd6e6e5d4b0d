"""A video's plan as a job: what is asked for, and that the service would take it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import botocore.session
import pytest
from botocore.validate import ParamValidator

from aws.mediaconvert_rules import problems
from contentplatform.errors import ErrorCode, ProcessingFailed
from contentplatform.processing.ladder import plan
from contentplatform.processing.mediaconvert_job import EXECUTION_FIELD, client_token, create_job
from contentplatform.processing.port import AudioTrack, MediaFacts, TranscodeRequest, VideoTrack

GOLDEN: Final = Path(__file__).with_name("golden") / "mediaconvert-job.json"
FOLDER: Final = "versions/0123456789abcdef0123456789abcdef/v.1_-x/recipe"
BUCKET: Final = "content-platform-processed-mine"
QUEUE: Final = "arn:aws:mediaconvert:us-east-1:123456789012:queues/Default"
TRACK: Final = VideoTrack(
    index=0,
    codec="h264",
    width=1_920,
    height=1_080,
    coded_width=1_920,
    coded_height=1_080,
    rotation_degrees=0,
    frame_rate=25.0,
    frame_rate_varies=False,
    duration_seconds=2.0,
)
SOUND: Final = AudioTrack(
    index=1, codec="aac", sample_rate_hz=48_000, channels=2, channel_layout="stereo", duration_seconds=2.0
)


def facts(track: VideoTrack = TRACK, *sounds: AudioTrack, container: str = "mov") -> MediaFacts:
    return MediaFacts(
        format=container,
        duration_seconds=2.0,
        duration_is_exact=True,
        bit_rate=None,
        size_bytes=1_000,
        video=(track,),
        audio=sounds,
    )


def request_for(found: MediaFacts) -> TranscodeRequest:
    rungs = plan(found, lambda name: f"{FOLDER}/{name}.mp4")
    return TranscodeRequest(
        "process-0123-4567", "0123456789abcdef0123456789abcdef", "v.1_-x", "a/ü $x$.mov", found, rungs
    )


def job_of(found: MediaFacts) -> Any:
    return create_job(
        request_for(found),
        source=f"s3://{BUCKET}/{FOLDER.rpartition('/')[0]}/staging/process-0123-4567.mov",
        bucket_name=BUCKET,
        role_arn="arn:aws:iam::123456789012:role/MediaConvertRole",
        queue_arn=QUEUE,
    )


def travelling(job: Any) -> Any:
    """As it goes over the wire."""
    client = botocore.session.Session().create_client(
        "mediaconvert", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    sent: list[bytes] = []

    def keep(request: Any, **_: Any) -> Any:
        sent.append(request.body)
        raise InterruptedError

    client.meta.events.register("before-send.mediaconvert.CreateJob", keep)
    with pytest.raises(InterruptedError):
        client.create_job(**job)
    return json.loads(sent[0])


def outputs(job: Any) -> list[Any]:
    [group] = job["Settings"]["OutputGroups"]
    made: list[Any] = group["Outputs"]
    return made


def h264(job: Any) -> Any:
    return outputs(job)[0]["VideoDescription"]["CodecSettings"]["H264Settings"]


def selected(job: Any) -> Any:
    return job["Settings"]["Inputs"][0]["VideoSelector"]


def test_the_job_of_an_ordinary_film_is_the_one_that_was_agreed_on() -> None:
    job = job_of(facts(TRACK, SOUND))
    assert job == json.loads(GOLDEN.read_text("utf-8"))


VARIANTS: Final = {
    "ordinary": facts(TRACK, SOUND),
    "silent": facts(),
    "small": facts(replace(TRACK, width=320, height=180), SOUND),
    "upright": facts(replace(TRACK, width=1_080, height=1_920, rotation_degrees=90), SOUND),
    "turned in matroska": facts(replace(TRACK, rotation_degrees=270), SOUND, container="matroska"),
    "HDR": facts(replace(TRACK, hdr="hdr10", color_primaries="bt2020", color_transfer="smpte2084"), SOUND),
    "interlaced": facts(replace(TRACK, interlaced=True), SOUND),
    "fast": facts(replace(TRACK, frame_rate=239.76), SOUND),
    "varying": facts(replace(TRACK, frame_rate=27.3, frame_rate_varies=True), SOUND),
    "mono": facts(TRACK, replace(SOUND, channels=1)),
    "5.1": facts(TRACK, replace(SOUND, channels=6, channel_layout="5.1")),
}


@pytest.mark.parametrize("found", VARIANTS.values(), ids=VARIANTS)
def test_the_service_would_take_it(found: MediaFacts) -> None:
    job = job_of(found)
    shape = botocore.session.Session().get_service_model("mediaconvert").operation_model("CreateJob").input_shape
    report = ParamValidator().validate(job, shape)
    assert not report.has_errors(), report.generate_report()
    assert problems(travelling(job)) == []


@pytest.mark.parametrize("found", VARIANTS.values(), ids=VARIANTS)
def test_each_output_lands_on_the_key_of_its_rung(found: MediaFacts) -> None:
    """The service writes destination, name modifier, a dot and the extension one after the other."""
    job = job_of(found)
    [group] = job["Settings"]["OutputGroups"]
    base = group["OutputGroupSettings"]["FileGroupSettings"]["Destination"]
    written = [f"{base}{output['NameModifier']}.{output['Extension']}" for output in group["Outputs"]]
    assert written == [f"s3://{BUCKET}/{rung.stored_key}" for rung in request_for(found).rungs]


def test_nothing_that_is_priced_higher_is_asked_for() -> None:
    job = job_of(facts(replace(TRACK, frame_rate=120.0), SOUND))
    assert job["AccelerationSettings"] == {"Mode": "DISABLED"}
    told = h264(job)
    assert told["QualityTuningLevel"] == "SINGLE_PASS_HQ"
    assert told["FramerateNumerator"] / told["FramerateDenominator"] == 60


def test_caps_and_sizes_are_those_of_the_plan() -> None:
    job = job_of(facts(TRACK, SOUND))
    pictures = [output["VideoDescription"] for output in outputs(job)]
    assert [(picture["Width"], picture["Height"]) for picture in pictures] == [(1_280, 720), (854, 480)]
    caps = [picture["CodecSettings"]["H264Settings"]["MaxBitrate"] for picture in pictures]
    assert caps == [3_000_000, 1_500_000]
    assert {p["CodecSettings"]["H264Settings"]["QvbrSettings"]["QvbrQualityLevel"] for p in pictures} == {7}
    sounds = [output["AudioDescriptions"][0]["CodecSettings"]["AacSettings"] for output in outputs(job)]
    assert [sound["Bitrate"] for sound in sounds] == [128_000, 96_000]


def test_a_silent_film_has_no_sound_to_select_and_none_to_encode() -> None:
    job = job_of(facts())
    assert "AudioSelectors" not in job["Settings"]["Inputs"][0]
    assert not any("AudioDescriptions" in output for output in outputs(job))


def test_the_track_that_is_heard_first_is_taken_by_its_place() -> None:
    second = replace(SOUND, index=2, is_default=True, channels=1)
    job = job_of(facts(TRACK, second, SOUND))
    [selector] = job["Settings"]["Inputs"][0]["AudioSelectors"].values()
    assert selector["Tracks"] == [2]
    assert selector["RemixSettings"]["ChannelsOut"] == 2


def test_rotation_is_found_by_the_service_where_it_can_and_told_where_it_can_t() -> None:
    turned = replace(TRACK, rotation_degrees=270)
    assert selected(job_of(facts(turned)))["Rotate"] == "AUTO"
    assert selected(job_of(facts(turned, container="matroska")))["Rotate"] == "DEGREES_270"
    assert selected(job_of(facts(TRACK, container="matroska")))["Rotate"] == "DEGREE_0"


def test_only_what_needs_it_is_deinterlaced_and_brought_to_ordinary_colours() -> None:
    def before(found: MediaFacts) -> Any:
        return outputs(job_of(found))[0]["VideoDescription"].get("VideoPreprocessors", {})

    assert before(VARIANTS["ordinary"]) == {}
    assert before(VARIANTS["interlaced"])["Deinterlacer"]["Mode"] == "DEINTERLACE"
    assert before(VARIANTS["HDR"])["ColorCorrector"] == {
        "ColorSpaceConversion": "FORCE_709",
        "HdrToSdrToneMapper": "PRESERVE_DETAILS",
    }
    wide = replace(TRACK, color_primaries="smpte432")
    assert before(facts(wide))["ColorCorrector"] == {"ColorSpaceConversion": "FORCE_709"}


def test_a_constant_rate_is_followed_and_a_varying_one_is_told() -> None:
    assert h264(job_of(facts()))["FramerateControl"] == "INITIALIZE_FROM_SOURCE"
    varying = h264(job_of(VARIANTS["varying"]))
    assert (varying["FramerateNumerator"], varying["FramerateDenominator"]) == (30_000, 1_001)


def test_what_the_service_can_t_make_is_refused_before_it_is_asked() -> None:
    with pytest.raises(ProcessingFailed, match="smaller than 32 pixels") as small:
        job_of(facts(replace(TRACK, width=64, height=16)))
    assert small.value.code is ErrorCode.UNSUPPORTED
    silent_and_blind = request_for(facts())
    with pytest.raises(ProcessingFailed, match="no picture"):
        create_job(
            replace(silent_and_blind, facts=replace(facts(), video=())),
            source="s3://b/k",
            bucket_name="b",
            role_arn="r",
            queue_arn=QUEUE,
        )


def test_the_token_fits_and_tells_executions_apart() -> None:
    job = job_of(facts())
    assert job["ClientRequestToken"] == client_token("process-0123-4567")
    assert len(client_token("x" * 500)) == 64
    assert client_token("a") != client_token("b")
    assert job["UserMetadata"][EXECUTION_FIELD] == "process-0123-4567"


def _set(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(job: Any) -> None:
        for step in path[:-1]:
            job = job[step]
        if value is None:
            del job[path[-1]]
        else:
            job[path[-1]] = value

    return change


_OUTPUT: Final = ("settings", "outputGroups", 0, "outputs", 0)
_H264: Final = (*_OUTPUT, "videoDescription", "codecSettings", "h264Settings")
_AAC: Final = (*_OUTPUT, "audioDescriptions", 0, "codecSettings", "aacSettings")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("setings", value={}), "/setings: is not allowed"),
        (_set("role", value=None), "/role: is a required property"),
        (_set("settings", "inputs", value=[]), "/inputs: should have at least 1 item"),
        (_set("settings", "inputs", 0, "fileInput", value="file:///etc/passwd"), "fileInput: does not match"),
        (_set(*_OUTPUT, "nameModifier", value=None), "a name modifier of its own"),
        (_set(*_OUTPUT, "nameModifier", value="/480p"), "a name modifier of its own"),
        (_set(*_OUTPUT, "videoDescription", "width", value=1_281), "width: must be even"),
        (_set(*_OUTPUT, "videoDescription", "height", value=16), "height: should be at least 32"),
        (_set(*_H264, "maxBitrate", value=None), "maxBitrate: is a required property"),
        (_set(*_H264, "bitrate", value=3_000_000), "bitrate: is not allowed"),
        (_set(*_H264, "rateControlMode", value="ABR"), "'ABR' is not one of"),
        (_set(*_H264, "qvbrSettings", "qvbrQualityLevel", value=11), "qvbrQualityLevel: should be at most 10"),
        (_set(*_H264, "framerateControl", value="SPECIFIED"), "framerateNumerator: is a required property"),
        (_set(*_AAC, "bitrate", value=100_000), "bitrate: is not valid"),
        (_set(*_AAC, "sampleRate", value="48000"), "sampleRate: should be a integer"),
        (_set(*_OUTPUT, "audioDescriptions", 0, "audioSourceName", value="Sound"), "no selector of that name"),
        (_set(*_OUTPUT, "containerSettings", "movSettings", value={}), "that container's settings only"),
    ],
)
def test_the_rules_by_which_jobs_are_judged_refuse_what_is_wrong(change: Callable[[Any], None], words: str) -> None:
    job = copy.deepcopy(travelling(job_of(facts(TRACK, SOUND))))
    change(job)
    assert words in "; ".join(problems(job))
