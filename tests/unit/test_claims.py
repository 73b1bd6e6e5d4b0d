"""What a child that was taken over may claim of a film, and that nobody believes it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from contentplatform.processing.claims import media_facts
from contentplatform.processing.port import AudioTrack, Chapter, MediaFacts, SubtitleTrack, VideoTrack

HONEST = MediaFacts(
    format="mov",
    duration_seconds=2,
    duration_is_exact=True,
    bit_rate=None,
    size_bytes=1_000,
    video=(
        VideoTrack(
            index=0,
            codec="h264",
            width=320,
            height=180,
            coded_width=320,
            coded_height=180,
            rotation_degrees=90,
            frame_rate=25.0,
            frame_rate_varies=False,
            duration_seconds=2.0,
            start_seconds=-0.02,
        ),
    ),
    audio=(
        AudioTrack(
            index=1,
            codec="aac",
            sample_rate_hz=48_000,
            channels=2,
            channel_layout="stereo",
            duration_seconds=2.0,
            bit_rate=96_000,
            language="pt-BR",
        ),
    ),
    subtitles=(SubtitleTrack(index=2, codec="mov_text", is_text=True, language="de", title="Für alle"),),
    chapters=(Chapter(0.0, 1.5, "One"),),
    tags={"title": "A film", "comment": "two\nlines"},
    private={"location": "+48.1+011.5/"},
)


def claim(*path: str | int, value: Any) -> dict[str, Any]:
    """The honest facts with one of them replaced."""
    whole = copy.deepcopy(HONEST.to_json())
    for name in ("video", "audio", "subtitles", "chapters"):
        whole[name] = list(whole[name])
    place: Any = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return whole


def test_an_honest_claim_is_believed() -> None:
    assert media_facts(claim("other_streams", value=0)) == HONEST


@pytest.mark.parametrize("whole", [None, [], "mov", 7, {}, {"format": "mov"}])
def test_something_else_is_not(whole: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        media_facts(whole)


@pytest.mark.parametrize(
    "lie",
    [
        claim("format", value=7),
        claim("format", value="x" * 20_000),
        claim("format", value="mov\x1b[31m"),
        claim("size_bytes", value=-1),
        claim("size_bytes", value=1 << 80),
        claim("size_bytes", value=True),
        claim("size_bytes", value="1000"),
        claim("bit_rate", value=1.5),
        claim("duration_seconds", value=None),
        claim("duration_seconds", value=1e300),
        claim("duration_seconds", value=10**4_000),
        claim("duration_seconds", value=float("nan")),
        claim("duration_is_exact", value=1),
        claim("video", value={"index": 0}),
        claim("video", value=["h264"]),
        claim("video", value=[{}]),
        claim("video", 0, "index", value="0];movie=/etc/passwd[x"),
        claim("video", 0, "width", value=-320),
        claim("video", 0, "rotation_degrees", value=45),
        claim("video", 0, "surprise", value=1),
        claim("audio", 0, "language", value="../../secret"),
        claim("subtitles", 0, "language", value='de",URI="http://evil/'),
        claim("subtitles", 0, "title", value=["a"]),
        claim("chapters", value=[{"start_seconds": 0, "end_seconds": 1, "title": ""}] * 10_001),
        claim("tags", value={"title": ["a"]}),
        claim("tags", value=["title"]),
        claim("private", value={"a": {"b": "c"}}),
        claim("surprise", value=1),
    ],
)
def test_a_lie_is_found_out(lie: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        media_facts(lie)
