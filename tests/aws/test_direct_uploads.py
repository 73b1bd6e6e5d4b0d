"""Files that go straight to S3: by presigned requests only, as a browser sends them, whatever was there before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from contentplatform.accounts.port import Principal, Role, Scope, Via
from contentplatform.clock import RandomIds, SystemClock
from contentplatform.drivers.sqlite import Database
from contentplatform.ingest.direct_uploads import SCHEMA, FarUploads
from contentplatform.ingest.upload_sessions import SCHEMA as SESSIONS
from contentplatform.ingest.upload_sessions import LocalUploads, UploadRules
from contentplatform.storage.lifecycle import PRIMARY_REGION
from contentplatform.storage.outgoing_files import OutgoingFiles
from contentplatform.storage.port import BucketRole, ObjectStore, StorageClass, versions_of
from contentplatform.storage.versions import SCHEMA as STORAGE_SCHEMA
from contentplatform.web.uploads import UploadsApp

if TYPE_CHECKING:
    from contentplatform.drivers.boto import Aws

PRIMARY = BucketRole.PRIMARY
PART = 5 << 20  # S3's smallest
DATA = bytes(range(256)) * (2 * PART // 256) + b"the rest"


class World:
    """The HTTP side over uploads that go to S3, asked by one who may write below ``ann/``."""

    def __init__(self, aws: Aws, folder: Path) -> None:
        from aws.buckets import make_buckets, open_store  # noqa: PLC0415 - the other homes need no cloud library
        from contentplatform.storage.aws_parts import S3Parts  # noqa: PLC0415

        self.database = Database(folder / "rows.db", [STORAGE_SCHEMA, SESSIONS, SCHEMA], new_uuid="a")
        names = make_buckets(aws)
        self.bucket = names[PRIMARY]
        self.store: ObjectStore = open_store(aws, names)
        parts = S3Parts(aws, bucket=self.bucket, region=PRIMARY_REGION, upload_class=StorageClass.STANDARD)
        clock, ids, rules = SystemClock(), RandomIds(), UploadRules()
        staging = OutgoingFiles(self.database, self.store, folder / "uploads", ids, lambda _sha256: ())
        self.direct = FarUploads(self.database, self.store, parts, clock, ids, rules, part_size_bytes=PART)
        staged = LocalUploads(self.database, self.store, clock, ids, rules, staging=staging)
        self.who = Principal("ann", "ann", Role.EDITOR, frozenset({Scope.READ, Scope.WRITE}), "ann/", Via.TOKEN)
        self.app = UploadsApp(staged, lambda _scope: self.who, direct=self.direct)

    def ask(self, method: str, path: str, document: Any = None) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as client:
                return await client.request(method, f"/api/v1/uploads{path}", json=document)

        return asyncio.run(one())

    def begin(self, **asked: Any) -> dict[str, Any]:
        answer = self.ask("POST", "", {"key": "ann/film.bin", "size_bytes": len(DATA), "direct": True} | asked)
        assert answer.status_code == 201, answer.text
        assert answer.headers["cache-control"] == "no-store"
        told: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"/api/v1/uploads/{told['id']}"
        return told


def send(part: dict[str, Any]) -> None:
    """Send a part as a browser does, by nothing but what was told."""
    first = part["first_byte"]
    data = DATA[first : first + part["size_bytes"]]
    assert httpx.put(part["url"], content=data, headers=part["headers"], timeout=180).status_code == 200


@pytest.fixture
def world(aws: Aws, tmp_path: Path) -> Iterator[World]:
    made = World(aws, tmp_path)
    yield made
    made.database.close()


def test_a_file_goes_to_s3_in_parts_goes_on_where_it_stopped_and_is_one_version(world: World) -> None:
    begun = world.begin(content_type="video/mp4")
    assert (begun["part_size_bytes"], [part["size_bytes"] for part in begun["parts"]]) == (PART, [PART, PART, 8])
    for part in begun["parts"]:
        assert part["url"].startswith(world.direct.origin())
        assert "content-length%3Bhost%3Bx-amz-expected-bucket-owner" in part["url"]
        assert "X-Amz-Expires=3600" in part["url"]
    send(begun["parts"][0])
    refused = world.ask("POST", f"/{begun['id']}/complete")
    assert (refused.status_code, "2 are missing: 2, 3" in refused.text) == (409, True)
    later = world.ask("GET", f"/{begun['id']}").json()
    assert (later["parts_there"], [part["number"] for part in later["parts"]]) == ([1], [2, 3])
    for part in later["parts"]:
        send(part)
    done = world.ask("POST", f"/{begun['id']}/complete")
    [version] = versions_of(world.store, PRIMARY, "ann/film.bin")
    assert (done.status_code, done.json()["version_id"]) == (200, version.version_id)
    assert world.ask("POST", f"/{begun['id']}/complete").json() == done.json()
    stored = world.store.head(PRIMARY, "ann/film.bin")
    assert (stored.size_bytes, stored.content_type) == (len(DATA), "video/mp4")
    assert stored.user_metadata == {"claimed-type": "video/mp4", "upload-id": begun["id"]}
    with world.store.open(PRIMARY, "ann/film.bin") as reader:
        assert reader.read() == DATA


def test_an_address_takes_what_it_was_signed_for_and_nothing_else(world: World) -> None:
    [_, _, part] = world.begin()["parts"]
    rest, owner = DATA[part["first_byte"] :], part["headers"]
    assert httpx.put(part["url"], content=rest + b"!", headers=owner).status_code == 403
    assert httpx.put(part["url"], content=rest[1:], headers=owner).status_code == 403
    assert httpx.put(part["url"], content=rest).status_code == 403
    assert httpx.put(part["url"], content=rest, headers=dict.fromkeys(owner, "999999999999")).status_code == 403
    other = part["url"].replace("partNumber=3", "partNumber=2")
    assert other != part["url"]
    assert httpx.put(other, content=rest, headers=owner).status_code == 403
    assert httpx.put(part["url"], content=rest, headers=owner).status_code == 200


def test_others_and_other_folders_see_nothing_and_an_end_frees_the_parts(world: World, aws: Aws) -> None:
    begun = world.begin()
    send(begun["parts"][2])
    assert world.ask("POST", "", {"key": "bob/a", "size_bytes": 5, "direct": True}).status_code in {403, 404}
    ann = world.who
    world.who = Principal("bob", "bob", Role.ADMIN, frozenset(Scope), "", Via.TOKEN)
    for method, path in (("GET", ""), ("POST", "/complete"), ("POST", "/abandon")):
        assert world.ask(method, f"/{begun['id']}{path}").status_code == 404
    world.who = ann
    client = aws.client("s3", PRIMARY_REGION)
    assert len(client.list_multipart_uploads(Bucket=world.bucket)["Uploads"]) == 1
    assert world.ask("POST", f"/{begun['id']}/abandon").status_code == 204
    assert "Uploads" not in client.list_multipart_uploads(Bucket=world.bucket)
    assert world.ask("GET", f"/{begun['id']}").status_code == 404
    assert versions_of(world.store, PRIMARY, "ann/film.bin") == ()


def test_a_file_that_must_not_exist_is_refused_where_it_came_meanwhile(world: World) -> None:
    first, second = (world.begin(size_bytes=8, create_only=True) for _ in range(2))
    for begun in (first, second):
        send(begun["parts"][0])
    assert world.ask("POST", f"/{first['id']}/complete").status_code == 200
    assert world.ask("POST", f"/{second['id']}/complete").status_code == 409
    assert world.ask("GET", f"/{second['id']}").status_code == 404
    assert len(versions_of(world.store, PRIMARY, "ann/film.bin")) == 1
