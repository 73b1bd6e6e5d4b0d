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
    "storage.ObjectStore.put: parts sent past the platform come without a checksum": (
        "S3 computes CRC64NVME for them, by its documentation; the emulator knows no full-object checksum of parts"
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
    "a_started_execution_is_pending_and_says_why": (
        "Step Functions begins at once: there is no pending to be seen, and nobody to wait for"
    ),
    "a_video_is_asked_for_until_it_is_done": (
        "Step Functions calls an execution that waits running; the way it takes is shown by a test of its own"
    ),
    "a_passing_fault_is_tried_again_and_says_so_meanwhile": (
        "the same; that it is tried again is shown by history_tells_each_attempt_and_why_it_failed"
    ),
    "what_is_cancelled_never_begins": (
        "Step Functions enters the first state at once; that no step is called is shown by a test of its own"
    ),
    "uploads_go_before_repeats_and_the_first_come_first": (
        "Step Functions has no lanes: every execution runs at once, so none waits for another"
    ),
    "a_step_that_is_cancelled_while_it_works_commits_nothing": (
        "Lambda does not stop a function at work: its writes are conditional on the ledger entry instead"
    ),
    "workflow.WorkflowEngine.start: the error names of Lambda itself": (
        "the emulator reports every error of a function as Runtime.HandlerError; shown are the rules as they are"
        " rendered, the local interpreter under the same rules, and activities that answer with Lambda's names"
    ),
    "workflow.WorkflowEngine.history: events of the direct Lambda integration": (
        "the emulator writes TaskScheduled where Step Functions writes LambdaFunctionScheduled; shown on written events"
    ),
    "workflow.WorkflowEngine.list: an index that lags behind": "the emulator's indexes are never behind",
    "catalog.Catalog.search: indexes that lag behind": (
        "the emulator's indexes are never behind; shown is that a listing which is behind shows nothing stale"
    ),
    "catalog.Catalog.search: keys that a large answer leaves over": (
        "the emulator answers every batch wholly; shown with a client that leaves keys over"
    ),
    "catalog.Catalog.put: a partition that is written more than a thousand times a second": (
        "the emulator never throttles; that a client's errors become Unavailable is shown of the driver"
    ),
    "catalog.ChecksSearchIndex.requeue: one file's changes are worked on one at a time": (
        "that is a promise of Lambda's stream mapping; the feed is shown to end right in any order, late or repeated"
    ),
    "invalidations_are_listed_from_new_to_old_page_by_page": (
        "the emulator lists all at once, the oldest first; shown is that CloudFront's own marker is passed on"
    ),
    "delivery.Edge.signed_url: the distribution takes the signature": (
        "the emulator has no key groups and asks nobody for a signature; shown is that the public key verifies it"
    ),
    "delivery.Edge.image_url: the distribution signs its calls of the function that makes pictures": (
        "the emulator's edge signs no call of a function; shown is that the function's address answers who signs, and"
        " nobody else"
    ),
    "delivery.Edge.image_url: the edge asks again after five minutes whether a picture is still the same": (
        "the emulator caches nothing; shown is that the function answers such a question from the file's record"
    ),
    "delivery.Edge.invalidate: the cache forgets": "the emulator caches nothing, so nothing can be forgotten",
    "delivery.Edge.invalidate: too many at once": "the emulator has no limit on invalidations under way",
}
