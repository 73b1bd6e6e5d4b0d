"""What links must do, on those in memory and those in the data folder's database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform.drivers.sqlite import Database
from contentplatform.errors import InvalidRequest, NotFound
from contentplatform.media import MediaKind
from contentplatform.sharing.local import SCHEMA, LocalShares
from contentplatform.sharing.port import (
    Reservation,
    ShareDraft,
    Shares,
    Target,
    TargetKind,
    UploadLink,
    UploadLinkDraft,
    at_command_line,
    digest_of,
)
from fakes.clock import FakeClock, SequentialIds
from fakes.sharing import MemoryShares

FOLDER: Final = Target(TargetKind.FOLDER, "clients/acme")
FILE: Final = Target(TargetKind.FILE, "0" * 32)
HOUR: Final = timedelta(hours=1)


@dataclass
class Room:
    """Links and their clock."""

    shares: Shares
    clock: FakeClock
    out: set[str] = field(default_factory=set)
    """Users who are not let in now."""

    def link(self, **limits: Any) -> UploadLink:
        """A new upload link into ``in``."""
        return self.shares.create_upload_link(UploadLinkDraft("in", **limits), "u1")[1]

    def reserve(
        self, link: UploadLink, upload: str, name: str = "x.jpg", size: int | None = 10, *taken: str
    ) -> Reservation:
        """Room for a file for an hour, where the keys ``taken`` are no longer free."""
        until = self.clock.now() + HOUR
        return self.shares.reserve(link.id, upload, name, size, held_until=until, is_taken=lambda key: key in taken)


@pytest.fixture(params=["fake", "local"])
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    clock = FakeClock()
    out: set[str] = set()

    def lets_in(user_id: str) -> bool:
        return user_id not in out

    if request.param == "fake":
        yield Room(MemoryShares(clock, lets_in), clock, out)
        return
    database = Database(tmp_path / "links.db", (SCHEMA,), new_uuid="0" * 32)
    yield Room(LocalShares(database, clock, SequentialIds(), lets_in=lets_in), clock, out)
    database.close()


# -- shares ---------------------------------------------------------------------------------------------------------


def test_a_share_is_what_was_asked_for_and_its_secret_opens_it(room: Room) -> None:
    expires = room.clock.now() + HOUR
    draft = ShareDraft(FOLDER, "For Acme", expires, allow_originals=True, password_hash="$argon2id$x")
    secret, share = room.shares.create_share(draft, "u1")
    assert (share.target, share.title, share.expires_at, share.created_by) == (FOLDER, "For Acme", expires, "u1")
    assert (share.allow_originals, share.password_hash, share.views, share.revoked_at) == (True, "$argon2id$x", 0, None)
    assert room.shares.open_share(secret) == share == room.shares.share(share.id)


@pytest.mark.parametrize("wrong", ["", "x", "x" * 10_000, "\ud800", "' OR 1=1 --"])
def test_no_other_secret_opens_anything(room: Room, wrong: str) -> None:
    secret, share = room.shares.create_share(ShareDraft(FOLDER), "u1")
    assert room.shares.open_share(wrong) is None
    assert room.shares.open_share(secret[:-1]) is None
    assert room.shares.open_share(share.id) is None
    assert room.shares.open_share(digest_of(secret)) is None


def test_a_share_ends_at_its_time_to_the_second(room: Room) -> None:
    secret, _ = room.shares.create_share(ShareDraft(FOLDER, expires_at=room.clock.now() + HOUR), "u1")
    room.clock.advance(3_599)
    assert room.shares.open_share(secret) is not None
    room.clock.advance(1)
    assert room.shares.open_share(secret) is None


def test_a_revoked_share_is_over_at_once_and_keeps_the_first_time(room: Room) -> None:
    secret, share = room.shares.create_share(ShareDraft(FOLDER), "u1")
    first = room.shares.revoke_share(share.id).revoked_at
    room.clock.advance(60)
    assert room.shares.revoke_share(share.id).revoked_at == first == room.clock.now() - timedelta(seconds=60)
    assert room.shares.open_share(secret) is None


def test_a_share_is_closed_for_as_long_as_who_made_it_is_not_let_in(room: Room) -> None:
    secret, share = room.shares.create_share(ShareDraft(FOLDER), "u1")
    another, _ = room.shares.create_share(ShareDraft(FOLDER), "u2")
    room.out.add("u1")
    assert room.shares.open_share(secret) is None
    assert room.shares.share(share.id).is_suspended
    assert [each.is_suspended for each in room.shares.shares().shares] == [False, True]
    assert room.shares.open_share(another) is not None
    room.out.clear()
    assert room.shares.open_share(secret) == share == room.shares.share(share.id)


def test_what_was_made_at_the_command_line_is_nobody_s_and_stays_open(room: Room) -> None:
    maker = at_command_line("root")
    room.out |= {"root", maker}
    assert room.shares.open_share(room.shares.create_share(ShareDraft(FOLDER), maker)[0]) is not None
    assert room.shares.open_upload_link(room.shares.create_upload_link(UploadLinkDraft("in"), maker)[0]) is not None


def test_another_secret_ends_the_link_with_the_one_before(room: Room) -> None:
    old, share = room.shares.create_share(ShareDraft(FOLDER), "u1")
    new = room.shares.rotate_share(share.id)
    assert old != new
    assert room.shares.open_share(old) is None
    assert room.shares.open_share(new) == share


def test_views_are_counted(room: Room) -> None:
    _, share = room.shares.create_share(ShareDraft(FOLDER), "u1")
    for _ in range(3):
        room.clock.advance(1)
        room.shares.note_view(share.id)
    seen = room.shares.share(share.id)
    assert (seen.views, seen.last_used_at) == (3, room.clock.now())
    room.shares.note_view("nobody's")


def test_shares_are_listed_newest_first_by_creator_and_target(room: Room) -> None:
    made = [room.shares.create_share(ShareDraft(target), who)[1] for who in "ab" for target in (FOLDER, FILE)]
    assert room.shares.shares().shares == tuple(reversed(made))
    assert room.shares.shares(created_by="a").shares == (made[1], made[0])
    assert room.shares.shares(target=FILE).shares == (made[3], made[1])
    assert room.shares.shares(created_by="b", target=FILE).shares == (made[3],)
    first = room.shares.shares(limit=3)
    assert room.shares.shares(limit=3, cursor=first.cursor).shares == (made[0],)
    with pytest.raises(InvalidRequest):
        room.shares.shares(cursor="no cursor")
    with pytest.raises(InvalidRequest):
        room.shares.shares(limit=101)


@pytest.mark.parametrize(
    "draft",
    [
        ShareDraft(Target(TargetKind.FOLDER, "")),
        ShareDraft(Target(TargetKind.FOLDER, "a/")),
        ShareDraft(Target(TargetKind.FOLDER, "/a")),
        ShareDraft(Target(TargetKind.FILE, "")),
        ShareDraft(Target(TargetKind.COLLECTION, "x" * 1_000)),
        ShareDraft(FOLDER, title="x" * 1_001),
        ShareDraft(FOLDER, title="\x1b[31m"),
        ShareDraft(FOLDER, expires_at=FakeClock().now()),
    ],
)
def test_what_can_t_be_shared_is_refused_and_leaves_nothing(room: Room, draft: ShareDraft) -> None:
    with pytest.raises(InvalidRequest):
        room.shares.create_share(draft, "u1")
    assert room.shares.shares().shares == ()


def test_a_link_that_nobody_made_is_not_found(room: Room) -> None:
    for act in (room.shares.share, room.shares.rotate_share, room.shares.revoke_share):
        with pytest.raises(NotFound):
            act("none")
    for deed in (room.shares.upload_link, room.shares.rotate_upload_link, room.shares.revoke_upload_link):
        with pytest.raises(NotFound):
            deed("none")


# -- upload links ---------------------------------------------------------------------------------------------------


def test_an_upload_link_is_what_was_asked_for_and_ends_like_a_share(room: Room) -> None:
    kinds = frozenset({MediaKind.IMAGE, MediaKind.VIDEO})
    draft = UploadLinkDraft("in/acme", "Your pictures, please", room.clock.now() + HOUR, 3, 1_000, 500, kinds)
    secret, link = room.shares.create_upload_link(draft, "u1")
    assert room.shares.open_upload_link(secret) == link == room.shares.upload_link(link.id)
    assert (link.folder, link.message, link.kinds) == ("in/acme", "Your pictures, please", kinds)
    assert (link.max_files, link.max_bytes, link.max_file_bytes) == (3, 1_000, 500)
    assert (link.used_files, link.used_bytes) == (0, 0)
    new = room.shares.rotate_upload_link(link.id)
    assert room.shares.open_upload_link(secret) is None
    room.clock.advance(3_600)
    assert room.shares.open_upload_link(new) is None


def test_a_share_s_secret_opens_no_upload_link(room: Room) -> None:
    secret, _ = room.shares.create_share(ShareDraft(FOLDER), "u1")
    assert room.shares.open_upload_link(secret) is None


def test_upload_links_are_listed_newest_first(room: Room) -> None:
    made = [room.link() for _ in range(3)]
    first = room.shares.upload_links(created_by="u1", limit=2)
    assert first.links == (made[2], made[1])
    assert room.shares.upload_links(created_by="u1", limit=2, cursor=first.cursor).links == (made[0],)
    assert room.shares.upload_links(created_by="u2").links == ()


@pytest.mark.parametrize("draft", [UploadLinkDraft(""), UploadLinkDraft("a/"), UploadLinkDraft("in", max_files=0)])
def test_an_upload_link_to_nowhere_or_for_nothing_is_refused(room: Room, draft: UploadLinkDraft) -> None:
    with pytest.raises(InvalidRequest):
        room.shares.create_upload_link(draft, "u1")


# -- limits ---------------------------------------------------------------------------------------------------------


def test_a_file_gets_its_own_name_in_the_folder_and_counts_from_then_on(room: Room) -> None:
    link = room.link(max_files=2)
    assert room.reserve(link, "a").key == "in/x.jpg"
    assert (room.shares.upload_link(link.id).used_files, room.shares.upload_link(link.id).used_bytes) == (1, 10)
    kept = room.shares.settle(link.id, "a", 7)
    assert (kept.size_bytes, kept.held_until) == (7, None)
    assert room.shares.upload_link(link.id).used_bytes == 7


def test_nothing_that_is_there_is_overwritten(room: Room) -> None:
    link, other = room.link(), room.link()
    assert room.reserve(link, "a", "x.jpg", 1, "in/x.jpg").key == "in/x (2).jpg"
    assert room.reserve(other, "b", "x.jpg", 1, "in/x.jpg").key == "in/x (3).jpg"
    assert room.reserve(link, "c", ".profile", 1, "in/.profile").key == "in/.profile (2)"
    assert room.reserve(link, "d", "noext", 1, "in/noext").key == "in/noext (2)"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("../../etc/passwd", "in/etc/passwd"),
        ("..\\..\\x.jpg", "in/x.jpg"),
        ("/etc/x", "in/etc/x"),
        ("C:\\x", "in/C:/x"),
        ("a//./b.jpg", "in/a/b.jpg"),
        ("day 1/写真.jpg", "in/day 1/写真.jpg"),
    ],
)
def test_no_name_leads_out_of_the_folder(room: Room, name: str, key: str) -> None:
    assert room.reserve(room.link(), "a", name).key == key


@pytest.mark.parametrize("name", ["", "..", "/", "a\0b", "x\r\ny", "\x1b", "n" * 2_000])
def test_a_name_that_no_file_can_have_is_refused_and_takes_no_room(room: Room, name: str) -> None:
    link = room.link()
    with pytest.raises(InvalidRequest):
        room.reserve(link, "a", name)
    assert room.shares.upload_link(link.id).used_files == 0


def test_only_the_kinds_that_are_asked_for_are_taken(room: Room) -> None:
    draft = UploadLinkDraft("in", kinds=frozenset({MediaKind.IMAGE, MediaKind.DOCUMENT}))
    _, link = room.shares.create_upload_link(draft, "u1")
    for number, name in enumerate(("x.JPG", "y.pdf", "z.docx", "n.txt")):
        room.reserve(link, str(number), name)
    for name in ("x.mp4", "x.exe", "x.mp3", "jpg"):
        with pytest.raises(InvalidRequest, match="none of: document, image"):
            room.reserve(link, name, name)


def test_a_limit_is_a_limit(room: Room) -> None:
    link = room.link(max_files=2, max_bytes=100, max_file_bytes=60)
    with pytest.raises(InvalidRequest, match="60 more"):
        room.reserve(link, "a", size=61)
    room.reserve(link, "a", size=60)
    with pytest.raises(InvalidRequest, match="40 more"):
        room.reserve(link, "b", size=41)
    room.reserve(link, "b", size=40)
    with pytest.raises(InvalidRequest, match="2 files"):
        room.reserve(link, "c", size=0)
    room.shares.release(link.id, "b")
    room.reserve(link, "c", size=40)


def test_a_file_of_unknown_size_keeps_what_is_left_until_it_came(room: Room) -> None:
    link = room.link(max_bytes=100)
    assert room.reserve(link, "a", size=None).size_bytes == 100
    with pytest.raises(InvalidRequest):
        room.reserve(link, "b", size=1)
    with pytest.raises(InvalidRequest):
        room.reserve(link, "b", size=None)
    room.shares.settle(link.id, "a", 30)
    assert room.reserve(link, "b", size=70).size_bytes == 70
    unlimited = room.link()
    assert room.reserve(unlimited, "c", size=None).size_bytes == 0
    assert room.shares.settle(unlimited.id, "c", 1 << 40).size_bytes == 1 << 40


def test_no_file_comes_larger_than_there_is_room(room: Room) -> None:
    link = room.link(max_bytes=100)
    room.reserve(link, "a", size=50)
    room.reserve(link, "b", size=50)
    with pytest.raises(InvalidRequest):
        room.shares.settle(link.id, "a", 51)
    assert room.shares.settle(link.id, "a", 50).held_until is None


def test_reserving_settling_and_releasing_again_change_nothing(room: Room) -> None:
    link = room.link(max_files=1)
    kept = room.reserve(link, "a")
    assert room.reserve(link, "a", "other.jpg", 99) == kept == room.shares.reservation(link.id, "a")
    came = room.shares.settle(link.id, "a", 10)
    assert room.shares.settle(link.id, "a", 99) == came
    room.shares.release(link.id, "a")
    assert room.reserve(link, "a", "x.jpg", 10, "in/x.jpg") == came
    room.shares.release(link.id, "none")
    with pytest.raises(NotFound):
        room.shares.reservation(link.id, "none")


def test_a_reservation_ends_by_itself_and_is_taken_up_where_it_can_be(room: Room) -> None:
    link = room.link(max_files=1)
    room.reserve(link, "a")
    room.clock.advance(3_600)
    assert room.shares.upload_link(link.id).used_files == 0
    assert room.shares.settle(link.id, "a", 10).held_until is None
    other = room.link(max_files=1)
    room.reserve(other, "b")
    room.clock.advance(3_600)
    assert room.reserve(other, "c", "y.jpg").key == "in/y.jpg"
    with pytest.raises(InvalidRequest, match="1 files"):
        room.shares.settle(other.id, "b", 10)


def test_the_key_of_a_reservation_that_ended_is_free_for_another(room: Room) -> None:
    link = room.link()
    room.reserve(link, "a")
    room.clock.advance(3_600)
    assert room.reserve(link, "b").key == "in/x.jpg"
    with pytest.raises(NotFound):
        room.shares.settle(link.id, "a", 10)
    assert room.reserve(link, "a").key == "in/x (2).jpg"


def test_a_link_that_is_over_takes_nothing_not_even_what_was_on_its_way(room: Room) -> None:
    link = room.link()
    room.reserve(link, "a")
    room.shares.revoke_upload_link(link.id)
    with pytest.raises(NotFound):
        room.shares.settle(link.id, "a", 10)
    with pytest.raises(NotFound):
        room.reserve(link, "b")


def test_a_link_is_closed_for_as_long_as_who_made_it_is_not_let_in_and_takes_what_was_on_its_way_after(
    room: Room,
) -> None:
    secret, link = room.shares.create_upload_link(UploadLinkDraft("in"), "u1")
    room.reserve(link, "a")
    room.out.add("u1")
    assert room.shares.open_upload_link(secret) is None
    assert room.shares.upload_link(link.id).is_suspended
    assert room.shares.upload_links().links[0].is_suspended
    with pytest.raises(NotFound):
        room.reserve(link, "b")
    with pytest.raises(NotFound):
        room.shares.settle(link.id, "a", 10)
    room.out.clear()
    assert room.shares.settle(link.id, "a", 10).held_until is None
    assert room.shares.open_upload_link(secret) is not None


def test_limits_are_exact_however_many_come_at_once(room: Room) -> None:
    link = room.link(max_files=10, max_bytes=75)
    numbers = count()

    def one_more(_: int) -> str | None:
        try:
            return room.reserve(link, f"u{next(numbers)}").key
        except InvalidRequest:
            return None

    with ThreadPoolExecutor(8) as pool:
        keys = [key for key in pool.map(one_more, range(40)) if key is not None]
    assert len(keys) == len(set(keys)) == 7
    assert room.shares.upload_link(link.id).used_bytes == 70


# -- only at home ---------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_database(tmp_path: Path) -> None:
    database = Database(tmp_path / "links.db", (SCHEMA,), new_uuid="0" * 32)
    shares = LocalShares(database, FakeClock(), SequentialIds(), lets_in=lambda _: True)
    secrets = [
        shares.create_share(ShareDraft(FOLDER), "u1")[0],
        shares.create_upload_link(UploadLinkDraft("in"), "u1")[0],
    ]
    database.close()
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in secrets:
        assert len(secret) >= 32
        assert secret.encode() not in held
        assert digest_of(secret).encode() in held
