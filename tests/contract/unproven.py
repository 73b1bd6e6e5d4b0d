"""What the emulator can't show of the adapters on AWS, with the reason: one list, which leaves those checks out.

A key is the name of a contract's check, which then runs on every home but aws, or a promise of a port, written
``<room>.<Port>.<method>: <what>``, that no check here can reach.
"""

from __future__ import annotations

from typing import Final

UNPROVEN: Final[dict[str, str]] = {
    "storage.ObjectStore.put: a bucket of another account is refused": (
        "the emulator ignores ExpectedBucketOwner; shown is that every call carries it"
    ),
    "storage.ObjectStore.put: bytes that change between hashing and sending in parts are refused": (
        "the emulator knows no full-object checksum of parts; shown is that completing an upload carries it"
    ),
    "storage.ObjectStore.put: tags of a body that goes up in parts": "the emulator forgets the tags of such an upload",
    "storage.ObjectStore.put: keys that begin with ../ on S3 itself": (
        "the emulator takes any path; S3's front end may refuse one that climbs above the bucket"
    ),
    "storage.ObjectStore.copy: S3 hashes the copy": (
        "the emulator computes no checksum for ChecksumAlgorithm of a copy; the hash then stays a claim"
    ),
    "storage.ObjectStore.copy: create_only against a writer at the same moment": (
        "the emulator ignores If-None-Match of a copy; shown is the look before it"
    ),
    "storage.ObjectStore.open: a restored version that is not the current one": (
        "the emulator restores current versions only"
    ),
    "storage.ObjectStore.open: the archive tiers of Intelligent-Tiering": "the emulator never archives by itself",
}
