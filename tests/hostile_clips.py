"""Films and sounds made to hurt, built from ordinary ones or by hand: bombs, lies, references to elsewhere."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import sample_clips
import sample_media


def box(name: bytes, *parts: bytes) -> bytes:
    """One box of an MP4."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def patched(content: bytes, marker: bytes, offset: int, replacement: bytes) -> bytes:
    """``content`` with ``replacement`` at ``offset`` bytes behind the first ``marker``."""
    place = content.index(marker) + len(marker) + offset
    return content[:place] + replacement + content[place + len(replacement) :]


def chunk(name: bytes, *parts: bytes) -> bytes:
    """One chunk of a RIFF file."""
    content = b"".join(parts)
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def listed(kind: bytes, *parts: bytes) -> bytes:
    """One list of a RIFF file."""
    return chunk(b"LIST", kind, *parts)


# -- references to elsewhere -----------------------------------------------------------------------------------------


def playlists(file_url: str, web_url: str) -> dict[str, bytes]:
    """Files that make a careless FFmpeg open others."""
    return {
        "hls to a file": f"#EXTM3U\n#EXTINF:10,\n{file_url}\n#EXT-X-ENDLIST\n".encode(),
        "hls to the web": f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\n{web_url}/a.ts\n#EXT-X-ENDLIST\n".encode(),
        "hls by concat": f"#EXTM3U\n#EXTINF:10,\nconcat:{web_url}/header.m3u8|{file_url}\n".encode(),
        "dash": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
            f'<Representation id="1" bandwidth="1"><BaseURL>{web_url}/a.mp4</BaseURL><SegmentBase/></Representation>'
            "</AdaptationSet></Period></MPD>"
        ).encode(),
        "concat": f"ffconcat version 1.0\nfile {file_url}\nfile {web_url}/b.mp4\n".encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "strm": f"{web_url}/film.mp4\n".encode(),
        "playlist behind a film's first box": box(b"ftyp", b"isom", bytes(4), b"isom")
        + f"#EXTM3U\n#EXTINF:10,\n{web_url}/a.ts\n".encode(),
    }


def playlist_in_subtitles(playlist: bytes) -> bytes:
    """An AVI whose subtitles are a playlist: what read other people's files from converters in 2017."""
    payload = (
        b"GAB2\0" + struct.pack("<HI", 2, 10) + "subs\0".encode("utf-16-le") + struct.pack("<HI", 4, len(playlist))
    )
    picture = sample_media.encoded(sample_media.quarters(64, 48), "JPEG")
    return avi(64, 48, [(b"00dc", picture), (b"01tx", payload + playlist)], subtitles=True)


def avi(width: int, height: int, packets: list[tuple[bytes, bytes]], *, subtitles: bool = False) -> bytes:
    """Motion JPEG by header, with these packets."""
    main = struct.pack("<14I", 40_000, 0, 0, 0x10, len(packets), 0, 1 + subtitles, 0, width, height, 0, 0, 0, 0)
    stream = struct.pack(
        "<4s4sIHHIIIIIIIIHHHH", b"vids", b"MJPG", 0, 0, 0, 0, 1, 25, 0, len(packets), 0, 0, 0, 0, 0, 0, 0
    )
    form = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    streams = [listed(b"strl", chunk(b"strh", stream), chunk(b"strf", form))]
    if subtitles:
        text = struct.pack("<4s4sIHHIIIIIIIIHHHH", b"txts", bytes(4), 0, 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, 0, 0, 0, 0)
        streams.append(listed(b"strl", chunk(b"strh", text), chunk(b"strf", b"")))
    body = listed(b"hdrl", chunk(b"avih", main), *streams) + listed(b"movi", *(chunk(*packet) for packet in packets))
    return chunk(b"RIFF", b"AVI ", body)


def xbin(width: int, height: int) -> bytes:
    """A text screen, which old playlists used to make other files' text visible."""
    return b"XBIN\x1a" + struct.pack("<HHBB", width, height, 16, 0x10)


def outside_reference() -> bytes:
    """A film whose samples are said to be in another file."""
    return patched(sample_clips.film().read_bytes(), b"dref", 8 + 4 + 4, struct.pack(">I", 0))


# -- lies ------------------------------------------------------------------------------------------------------------


def endless_samples() -> bytes:
    """An index of four thousand million samples of a byte each."""
    return patched(sample_clips.silent().read_bytes(), b"stsz", 4, struct.pack(">II", 1, 0xFFFF_FFF0))


def long_table() -> bytes:
    """An index whose table of sizes is said to go on far behind its box."""
    return patched(sample_clips.silent().read_bytes(), b"stsz", 4, struct.pack(">II", 0, 0x7FFF_FFFF))


def stts_bomb() -> bytes:
    """Times for four thousand million samples."""
    return patched(sample_clips.silent().read_bytes(), b"stts", 8, struct.pack(">II", 0xFFFF_FFFF, 1))


def endless_edits() -> bytes:
    """A list of edits with four thousand million entries."""
    return patched(sample_clips.silent().read_bytes(), b"elst", 4, struct.pack(">I", 0xFFFF_FFFF))


def looping_edits() -> bytes:
    """Fifty thousand edits that all show the whole film, an instant each."""
    content = sample_clips.silent().read_bytes()
    place = content.index(b"elst") - 4
    old = struct.unpack(">I", content[place : place + 4])[0]
    edits = b"".join(struct.pack(">IiI", 1, number % 2 * 512, 0x10000) for number in range(50_000))
    new = box(b"elst", bytes(4), struct.pack(">I", 50_000), edits)
    return _grown(content, [b"moov", b"trak", b"edts"], place, old, new)


def endless_fragment() -> bytes:
    """A fragment that claims four thousand million samples of no size."""
    run = box(b"trun", bytes(4), struct.pack(">I", 0xFFFF_FFFF))
    head = box(b"tfhd", struct.pack(">II", 0x020000, 1))
    content = sample_clips.silent().read_bytes()
    place = content.index(b"trak") - 4
    extends = box(b"mvex", box(b"trex", bytes(4), struct.pack(">IIIII", 1, 1, 1, 0, 0)))
    grown = _grown(content, [b"moov"], place, 0, extends)
    return grown + box(b"moof", box(b"mfhd", bytes(4), struct.pack(">I", 1)), box(b"traf", head, run))


def nested_boxes(depth: int = 20_000) -> bytes:
    """An index in an index in an index."""
    inner = b""
    for _ in range(depth):
        inner = box(b"moov", inner)
    return box(b"ftyp", b"isom", bytes(4)) + inner


def _grown(content: bytes, parents: list[bytes], place: int, old_bytes: int, new: bytes) -> bytes:
    """``content`` with ``new`` for ``old_bytes`` at ``place``, inside the first boxes called ``parents``."""
    grown = bytearray(content[:place] + new + content[place + old_bytes :])
    start = 0
    for parent in parents:
        start = content.index(parent, start) - 4
        length = struct.unpack(">I", content[start : start + 4])[0] + len(new) - old_bytes
        grown[start : start + 4] = struct.pack(">I", length)
        start += 8
    return bytes(grown)


def mutated(content: bytes, seed: int) -> bytes:
    """``content`` with some bytes of its first and last parts changed, where headers are."""
    dice, broken = random.Random(seed), bytearray(content)
    windows = [(0, min(2_000, len(broken))), (max(0, len(broken) - 3_000), len(broken))]
    for _ in range(dice.randrange(1, 30)):
        first, last = dice.choice(windows)
        broken[dice.randrange(first, last)] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
    return bytes(broken)


# -- sounds ----------------------------------------------------------------------------------------------------------


def tagged_mp3(path: Path, picture_bytes: int, *, is_there: bool) -> Path:
    """An MP3 behind an ID3 tag with a picture of so many bytes: there, as a hole in the file, or only declared."""
    frame = b"APIC" + _seven(picture_bytes) + bytes(2)
    tag = b"ID3\x04\0\0" + _seven(picture_bytes + 10) + frame + b"\0image/jpeg\0\x03\0\xff\xd8\xff"
    with path.open("wb") as stream:
        stream.write(tag)
        if is_there:
            stream.seek(10 + 10 + picture_bytes)
        stream.write(sample_clips.sound("mp3").read_bytes())
    return path


def _seven(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def flac_with(block_type: int, content: bytes, declared: int | None = None) -> bytes:
    """A FLAC with one more block of metadata behind its first, of ``declared`` length if that is not its own."""
    whole = sample_clips.sound("flac").read_bytes()
    length = len(content) if declared is None else declared
    block = bytes([block_type]) + length.to_bytes(3, "big") + content
    first_end = 4 + 4 + 34
    return whole[:4] + bytes([whole[4] & 0x7F]) + whole[5:first_end] + block + whole[first_end:]


def endless_wav() -> bytes:
    """A WAV whose lengths are all ones, as programs write that don't know the end."""
    content = sample_clips.sound("wav").read_bytes()
    return patched(patched(content, b"RIFF", 0, b"\xff" * 4), b"data", 0, b"\xff" * 4)


def huge_cover_m4a(path: Path, picture_bytes: int) -> Path:
    """An M4A with a cover of so many bytes, all of them a hole in the file."""
    content = sample_clips.with_cover("m4a").read_bytes()
    place = content.index(b"covr") - 4
    old = struct.unpack(">I", content[place : place + 4])[0]
    head = struct.pack(">I4sI4sII", picture_bytes + 24, b"covr", picture_bytes + 16, b"data", 13, 0)
    # The lengths of the boxes around it count the hole, too.
    grown = bytearray(content[:place] + head + content[place + old :])
    start = 0
    for parent in (b"moov", b"udta", b"meta", b"ilst"):
        start = content.index(parent, start) - 4
        length = struct.unpack(">I", content[start : start + 4])[0] + picture_bytes + 24 - old
        grown[start : start + 4] = struct.pack(">I", length)
        start += 8
    with path.open("wb") as stream:
        stream.write(grown[: place + 24])
        stream.seek(place + 24 + picture_bytes)
        stream.write(grown[place + 24 :])
        stream.truncate(max(stream.tell(), place + 24 + picture_bytes))
    return path


# -- films -----------------------------------------------------------------------------------------------------------


def many_streams(count: int) -> Path:
    """A film with so many tracks of sound."""
    sound, path = sample_clips.sound("mp3"), sample_clips.folder() / f"streams-{count}.mkv"
    maps = [part for _ in range(count) for part in ("-map", "0:a")]
    sample_clips.ffmpeg("-t", "0.1", "-i", str(sound), *maps, "-c", "copy", str(path))
    return path


def many_fonts(count: int) -> Path:
    """A film with so many fonts attached."""
    font, path = sample_clips.folder() / "small.ttf", sample_clips.folder() / f"fonts-{count}.mkv"
    font.write_bytes(b"\0\1\0\0" + bytes(64))
    attached = [part for _ in range(count) for part in ("-attach", str(font))]
    sample_clips.ffmpeg(
        "-i",
        str(sample_clips.film()),
        "-map",
        "0",
        "-c",
        "copy",
        *attached,
        "-metadata:s:t",
        "mimetype=font/ttf",
        str(path),
    )
    return path


def big_picture() -> bytes:
    """8192x8192 H.264 whose container says 320x180."""
    path = sample_clips.folder() / "big.mp4"
    source = ("-f", "lavfi", "-i", "color=black:s=8192x8192:r=1:d=1")
    sample_clips.ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path))
    content = path.read_bytes()
    return patched(content, b"avc1", 24, struct.pack(">HH", 320, 180))


def fast_film(pictures_per_second: int = 10_000) -> Path:
    """A film too fast for anybody's eyes."""
    path = sample_clips.folder() / "too_fast.mp4"
    source = ("-f", "lavfi", "-i", f"color=red:s=16x16:r={pictures_per_second}:d=0.02")
    sample_clips.ffmpeg(*source, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path))
    return path


def endless_film() -> bytes:
    """A film whose every picture is shown for two days."""
    slow = patched(sample_clips.silent().read_bytes(), b"stts", 8 + 4, struct.pack(">I", 0x7FFF_FFFF))
    # The list of edits would cut it to what it was.
    return patched(patched(slow, b"mdhd", 16, struct.pack(">I", 0xFFFF_FFF0)), b"edts", -4, b"free")


def huge_jpegs(width: int, height: int) -> bytes:
    """Motion JPEG whose pictures claim a size."""
    picture = sample_media.encoded(sample_media.quarters(64, 48), "JPEG")
    picture = patched(picture, b"\xff\xc0", 3, struct.pack(">HH", height, width))
    return avi(width, height, [(b"00dc", picture)] * 3)
