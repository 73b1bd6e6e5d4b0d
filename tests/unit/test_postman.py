"""What webhooks are told: everything, in order, signed, again until it is taken or given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

from contentplatform import config
from contentplatform.app import open_local
from contentplatform.catalog.port import ChangeKind, HasChanges
from contentplatform.errors import ConfigurationInvalid, InvalidRequest
from contentplatform.hooks.port import Webhook
from contentplatform.hooks.postman import Postman, PostRules, Sent, signature
from fakes.catalog import FakeCatalog, make_record
from fakes.clock import FakeClock, SequentialIds
from fakes.hooks import MemoryWebhooks, Receiver

URL: Final = "https://hooks.example/x"


@dataclass
class Office:
    """A postman over fakes."""

    clock: FakeClock
    catalog: FakeCatalog
    webhooks: MemoryWebhooks
    receiver: Receiver
    postman: Postman

    def hook(self, *events: ChangeKind, url: str = URL) -> Webhook:
        """A webhook that is told what happens from now on."""
        return self.webhooks.add(url, events, "u1", after=self.catalog.newest_change())[1]

    def happen(self, *names: str) -> None:
        """Let files be added."""
        for name in names:
            self.catalog.put(make_record(name))

    def told(self) -> list[str]:
        """The names of the files that the receiver heard of, in its order."""
        return [json.loads(body)["data"]["file_path"] for _, _, body in self.receiver.heard]


@pytest.fixture
def office() -> Office:
    clock, catalog, receiver = FakeClock(), FakeCatalog(), Receiver()
    webhooks = MemoryWebhooks(clock, lambda _url: None)
    postman = Postman(webhooks, catalog, receiver, clock, SequentialIds(), PostRules(attempts=3))
    return Office(clock, catalog, webhooks, receiver, postman)


def test_everything_that_happens_from_then_on_is_told_in_its_order(office: Office) -> None:
    office.happen("before")
    office.hook()
    office.happen("a", "b", "c")
    assert office.postman.deliver_due() == 3
    assert office.told() == ["a", "b", "c"]
    assert office.postman.deliver_due() == 0


def test_a_message_says_what_happened_and_is_signed(office: Office) -> None:
    hook = office.hook()
    office.happen("a/photo.jpg")
    office.postman.deliver_due()
    [(url, headers, body)] = office.receiver.heard
    told = json.loads(body)
    assert url == URL
    assert told["type"] == "file.added"
    assert set(told) == {"type", "timestamp", "data"}
    assert told["data"]["file_path"] == "a/photo.jpg"
    moment = headers["webhook-timestamp"]
    assert moment == str(int(office.clock.now().timestamp()))
    key = base64.b64decode(office.webhooks.secret(hook.id).removeprefix("whsec_"))
    signed = hmac.new(key, f"{headers['webhook-id']}.{moment}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
    assert headers["Content-Type"] == "application/json"


def test_the_signature_is_the_one_of_standard_webhooks() -> None:
    """The example of its specification's libraries."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_only_what_was_asked_for_is_told_and_the_rest_is_not_looked_at_again(office: Office) -> None:
    hook = office.hook(ChangeKind.DELETED)
    office.happen("a", "b")
    record = office.catalog.get(make_record("b").file_id)
    office.catalog.put(replace(record, deleted_at=office.clock.now()))
    office.happen("c")
    assert office.postman.deliver_due() == 1
    assert [json.loads(body)["type"] for _, _, body in office.receiver.heard] == ["file.deleted"]
    assert office.webhooks.get(hook.id).position == office.catalog.newest_change()


def test_what_can_t_be_signed_is_not_sent_and_waits_for_a_person(office: Office) -> None:
    class Keyless(MemoryWebhooks):
        def secret(self, webhook_id: str) -> str:
            raise ConfigurationInvalid(f"signing for {webhook_id}", "the key is gone")

    office.webhooks = Keyless(office.clock, lambda _url: None)
    rules = PostRules(attempts=1)
    postman = Postman(office.webhooks, office.catalog, office.receiver, office.clock, SequentialIds(), rules)
    hook = office.hook()
    office.happen("a")
    assert postman.deliver_due() == 0
    assert office.receiver.heard == []
    assert office.webhooks.get(hook.id).last_status == "not sent: the key is gone"
    assert [each.message.sequence for each in office.webhooks.dead(hook.id)] == [office.catalog.newest_change()]


def test_a_message_that_is_not_taken_holds_those_behind_it_and_comes_again_under_its_id(office: Office) -> None:
    hook = office.hook()
    office.happen("a", "b")
    office.receiver.answers = [500]
    assert office.postman.deliver_due() == 0
    assert office.told() == ["a"]
    assert office.postman.deliver_due() == 0
    assert office.told() == ["a"]
    office.clock.advance(5)
    assert office.postman.deliver_due() == 2
    assert office.told() == ["a", "a", "b"]
    ids = [headers["webhook-id"] for _, headers, _ in office.receiver.heard]
    assert ids[0] == ids[1] != ids[2]
    assert office.receiver.heard[0][2] == office.receiver.heard[1][2]
    assert office.webhooks.get(hook.id).last_status == "answered 204"


@pytest.mark.parametrize("status", [199, 300, 302, 400, 404, 500])
def test_nothing_but_a_success_takes_a_message_a_redirect_neither(office: Office, status: int) -> None:
    hook = office.hook()
    office.happen("a")
    office.receiver.answers = [status]
    assert office.postman.deliver_due() == 0
    assert (office.webhooks.get(hook.id).attempts, office.webhooks.get(hook.id).last_status) == (
        1,
        f"answered {status}",
    )


def test_pauses_grow_twice_as_long_each_time_up_to_their_limit(office: Office) -> None:
    rules = PostRules(attempts=100, longest_pause_seconds=60)
    postman = Postman(office.webhooks, office.catalog, office.receiver, office.clock, SequentialIds(), rules)
    hook = office.hook()
    office.happen("a")
    office.receiver.fail(7)
    pauses = []
    for _ in range(7):
        postman.deliver_due()
        due = office.webhooks.get(hook.id).due_at
        assert due is not None
        pauses.append((due - office.clock.now()).total_seconds())
        office.clock.advance(pauses[-1])
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_what_is_given_up_waits_for_a_person_and_the_next_message_has_its_turn(office: Office) -> None:
    hook = office.hook()
    office.happen("a", "b")
    office.receiver.fail(3)
    for _ in range(3):
        office.postman.deliver_due()
        office.clock.advance(60)
    assert office.webhooks.get(hook.id).dead == 1
    assert office.postman.deliver_due() == 1
    assert office.told() == ["a", "a", "a", "b"]
    office.receiver.answers = [500]
    assert office.postman.redrive(hook.id) == 0
    assert office.postman.redrive(hook.id) == 1
    assert office.webhooks.get(hook.id).dead == 0
    assert office.told()[-1] == "a"


def test_a_url_that_leads_inside_by_now_is_a_failure_in_words(office: Office) -> None:
    hook = office.hook()
    office.happen("a")
    office.receiver.answers = [InvalidRequest("calling", "it leads to an address inside this network")]
    office.postman.deliver_due()
    assert office.webhooks.get(hook.id).last_status == "it leads to an address inside this network"


def test_a_receiver_that_is_gone_is_told_nothing_more(office: Office) -> None:
    hook = office.hook()
    office.happen("a", "b")
    office.receiver.answers = [410]
    assert office.postman.deliver_due() == 0
    gone = office.webhooks.get(hook.id)
    assert (gone.active, gone.dead) == (False, 1)
    assert office.postman.deliver_due() == 0
    assert len(office.receiver.heard) == 1


def test_a_slow_or_broken_receiver_keeps_no_other_waiting(office: Office) -> None:
    first, second = office.hook(url="https://a.example/"), office.hook(url="https://b.example/")
    office.happen("a")
    office.receiver.answers = [500, 204]
    assert office.postman.deliver_due() == 1
    attempts = sorted(office.webhooks.get(hook.id).attempts for hook in (first, second))
    assert attempts == [0, 1]


def test_two_workers_never_send_the_same_message_at_once(office: Office) -> None:
    office.hook()
    office.happen("a", "b", "c")
    others: list[int] = []
    office.receiver.meanwhile = lambda: others.append(office.postman.deliver_due())
    assert office.postman.deliver_due() == 3
    assert others == [0, 0, 0]
    assert office.told() == ["a", "b", "c"]


def test_a_worker_that_was_killed_in_the_middle_leaves_the_message_to_the_next(office: Office) -> None:
    hook = office.hook()
    office.happen("a")
    assert office.webhooks.claim(hook.id, 30) is not None
    assert office.postman.deliver_due() == 0
    office.clock.advance(30)
    assert office.postman.deliver_due() == 1
    assert office.told() == ["a"]


def test_changes_that_were_forgotten_are_told_as_lost_once(office: Office) -> None:
    hook = office.hook()
    office.happen("a", "b", "c")
    office.catalog.forgotten_changes = 2
    assert office.postman.deliver_due() == 1
    told = json.loads(office.receiver.heard[0][2])
    assert (told["type"], told["data"]) == ("changes.lost", {"after": 0, "before": 3})
    assert office.webhooks.get(hook.id).position == 3
    office.happen("d")
    office.postman.deliver_due()
    assert [json.loads(body)["type"] for _, _, body in office.receiver.heard] == ["changes.lost", "file.added"]


def test_one_that_was_removed_in_the_middle_is_no_fault(office: Office) -> None:
    hook = office.hook()
    office.happen("a", "b")
    office.receiver.meanwhile = lambda: office.webhooks.remove(hook.id)
    assert office.postman.deliver_due() == 0
    assert len(office.receiver.heard) == 1


def test_a_trial_message_tells_nothing_and_moves_nothing(office: Office) -> None:
    hook = office.hook()
    office.happen("a")
    assert office.postman.test(hook.id) == Sent(taken=True, status="answered 204")
    assert json.loads(office.receiver.heard[0][2])["type"] == "webhook.test"
    assert office.webhooks.get(hook.id) == hook


# -- over the data folder, to a server of this machine ---------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            heard.append(f"{body['type']} {body['data']['file_path']}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_address[1]}/hook", heard
    listening.shutdown()
    listening.server_close()


def test_what_people_do_with_files_reaches_a_server(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    url, heard = server
    settings = config.load(
        data_folder=tmp_path,
        environment={"CONTENTPLATFORM_SHARING_ALLOW_PRIVATE_HOOKS": "true", "CONTENTPLATFORM_SHARING_HOOK_PORTS": ""},
    )
    home = open_local(settings)
    try:
        assert isinstance(home.catalog, HasChanges)
        home.platform.webhooks.add(url, [], "u1", after=home.catalog.newest_change())
        home.platform.library.add("a.bin", BytesIO(b"\0\1"))
        home.finish()
        home.platform.library.move("a.bin", "b.bin")
        home.finish()
        postmen = [home.postman() for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Postman.deliver_due, postmen))
        while home.postman().deliver_due():
            pass
    finally:
        home.close()
    assert heard[0] == "file.added a.bin"
    assert heard.index("file.moved a.bin") < len(heard)
    assert "file.added b.bin" in heard
    assert len(heard) == len(set(heard))


def test_no_webhook_reaches_this_machine_unless_the_settings_let_it(
    tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    url, heard = server
    home = open_local(config.load(data_folder=tmp_path, environment={"CONTENTPLATFORM_SHARING_HOOK_PORTS": ""}))
    try:
        with pytest.raises(InvalidRequest, match="inside this network"):
            home.platform.webhooks.add(url, [], "u1", after=0)
    finally:
        home.close()
    assert heard == []


def test_a_postman_works_in_threads_of_its_own_and_stops_at_once() -> None:
    """The receiver never answers: stopping does not wait for it, and the message is sent again."""
    started = threading.Event()
    given_up = threading.Event()

    def call(_url: str, _headers: dict[str, str], _body: bytes) -> int:
        started.set()
        assert given_up.wait(300)
        return 500

    clock, catalog = FakeClock(), FakeCatalog()
    webhooks = MemoryWebhooks(clock, lambda _url: None)
    _, hook = webhooks.add(URL, [], "u1", after=0)
    catalog.put(make_record("a"))
    postman = Postman(webhooks, catalog, call, clock, SequentialIds(), give_up=given_up.set)
    postman.start()
    assert started.wait(300)
    postman.stop()
    postman.stop()
    assert webhooks.get(hook.id).attempts == 0
    assert webhooks.claim(hook.id, 1) is not None
