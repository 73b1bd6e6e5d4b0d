"""Hostile requests to the edge: names, ranges, signatures, hosts and lines that are made to do harm.

The rows of the list of hostile requests are named in each test.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import quote

import pytest

from contentplatform.delivery.attachments import disposition
from contentplatform.delivery.rules import path_of
from contentplatform.storage.port import BucketRole
from edge_site import EdgeSite, edge_site, link_to
from work_guard import work_that_ends

PICTURE: Final = b"picture" * 100
SECRET: Final = b"root:x:0:0:not to be seen"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeSite]:
    """One home for all tests of this module."""
    with edge_site(tmp_path_factory.mktemp("edge")) as made:
        made.keep_original("private/secret.txt", SECRET)
        made.publish("processed/text/private/secret.txt.txt", SECRET, "text/plain; charset=utf-8")
        yield made


# -- H35, H36, H43, H44: names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/processed/thumbnails/../../../../etc/passwd",
        "/processed/thumbnails/..%2f..%2f..%2fetc/passwd",
        "/processed/thumbnails/%2e%2e/%2e%2e/etc/passwd",
        "/processed/thumbnails/%252e%252e%252fetc/passwd",
        "/processed/thumbnails/....//....//etc/passwd",
        "/processed/thumbnails/..\\..\\etc\\passwd",
        "/processed/thumbnails/..%5c..%5cetc%5cpasswd",
        "/processed/thumbnails//etc/passwd",
        "/processed/thumbnails/C:\\x",
        "/processed/thumbnails/\\\\?\\x",
        "/raw/../private/secret.txt",
        "/raw/%2e%2e/%2e%2e/private/secret.txt",
        "/raw/..%2f..%2fprivate/secret.txt",
        "/raw//private/secret.txt",
        "/processed/text/private%2fsecret.txt.txt",
        "/processed/text/%70rivate/secret.txt.txt",
        "/processed/text/./private/secret.txt.txt",
        "/processed/text/x/../private/secret.txt.txt",
        "/processed/text//private/secret.txt.txt",
        "/processed/text/PRIVATE/secret.txt.txt",
        "/processed//text/private/secret.txt.txt",
        "//processed/text/private/secret.txt.txt",
        "processed/text/private/secret.txt.txt",
        "/processed/text/private/secret.txt.txt%00.jpg",
        "/processed/text/private/secret.txt.txt%0d%0aX-Evil:%201",
        "/processed/text/%c0%afprivate/secret.txt.txt",
        "/processed/text/%ff",
        "/processed/text/%",
        "/processed/text/%zz",
    ],
)
def test_h35_a_path_reaches_nothing_but_published_keys(site: EdgeSite, path: str) -> None:
    """H35, H36."""
    for method in ("GET", "HEAD", "OPTIONS"):
        got = site.ask(path, method)
        assert got.status in {400, 403, 404, 204}, (method, got.status)
        assert SECRET not in got.body
        assert "x-evil" not in got.headers


def test_h40_names_come_back_as_they_were_stored(site: EdgeSite) -> None:
    """H37, H39, H40, H41, H43, H44."""
    names = [
        "a+b c%20d?x#y&z",
        "-`$(x)`;\"'",
        "v1.2/photo",
        "a.png",
        "a.jpg",
        "processed/thumbnails/x.jpg",
        "_admin/.well-known/x",
        "photo\u202egpj.exe",
        "cafe\u0301.png",
        "café.png",
        "😀" * 40,
        "C:\\x",
        "...",
        "x" * 300 + ".longextension",
        "%2e%2e",
        "concat:|@file",
    ]
    for number, name in enumerate(names):
        stored = site.publish(f"processed/thumbnails/{name}.jpg", b"%d" % number)
        for target in (link_to(stored), path_of(stored.key)):
            got = site.ask(target)
            assert (got.status, got.body) == (200, b"%d" % number), name
        made = site.home.edge.invalidate([path_of(stored.key)], f"name {number}")
        assert made is not None
        assert made.paths == (path_of(stored.key),)


# -- H42: names of saved files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x.jpg\"; filename*=UTF-8''evil.html",
        'x"; evil=1; y="',
        "a\r\nSet-Cookie: a=b\r\n\r\n<script>",
        "a\0b.png",
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "photo\u202egpj.exe",
        "\u2066x\u2069.png",
        "Отчёт ½ 写真.pdf",
        "\udcff.png",
        "",
        ".",
        "..",
        " . ",
        "x" * 5_000 + ".pdf",
        "%0d%0a.txt",
        "a;b,c=d.txt",
    ],
)
def test_h42_a_name_stays_within_its_header(name: str) -> None:
    """H42."""
    value = disposition(name)
    value.encode("ascii")
    assert value.startswith('attachment; filename="')
    assert not set(value) & {"\r", "\n", "\0", "\\"}
    assert value.count('"') == 2
    plain = value.split('"')[1]
    assert plain
    assert "/" not in plain
    assert not plain.startswith(".")
    assert len(value) < 3_000
    parts = value.split("; ")
    assert len(parts) in {2, 3}
    assert len(parts) == 2 or parts[2].startswith("filename*=UTF-8''")
    assert "%2F" not in value
    assert "%E2%80%AE" not in value


def test_h42_a_signed_name_cannot_break_out_of_its_header(site: EdgeSite) -> None:
    """H42."""
    stored = site.publish("processed/webp/private/named.png.webp", PICTURE, "image/webp")
    later = site.home.platform.clock.now() + timedelta(hours=1)
    link = site.home.edge.download_url(stored.key, later, stored.sha256 or "", 'a"\r\nSet-Cookie: x=y\r\n\r\n')
    got = site.ask(link)
    assert got.status == 200
    assert "set-cookie" not in got.headers
    assert got.headers["content-disposition"].count("\n") == 0


# -- H47: ranges ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "bytes=" + "0-," * 100_000 + "0-",
        "bytes=" + ",".join(f"{number}-{number}" for number in range(100_000)),
        "bytes=" + "9" * 600_000 + "-",
        "bytes=-" + "9" * 600_000,
        "bytes=" + " " * 600_000 + "0-1",
        "bytes=" * 100_000,
        "bytes=18446744073709551615-18446744073709551616",
        "bytes=-18446744073709551616",
        "bytes=5-1",
        "bytes=-99999999",
        "bytes=700-",
    ],
)
def test_h47_no_range_costs_more_than_the_whole(site: EdgeSite, header: str) -> None:
    """H47."""
    stored = site.publish("processed/thumbnails/ranges.png.jpg", PICTURE)
    site.ask(link_to(stored))
    with work_that_ends():
        got = site.ask(link_to(stored), range=header, if_range='"' + "x" * 600_000)
        got = site.ask(link_to(stored), range=header)
    assert got.status in {200, 206, 416}
    assert len(got.body) <= len(PICTURE)
    assert "multipart" not in got.headers.get("content-type", "")


# -- H52: signatures --------------------------------------------------------------------------------------------------


def test_h52_a_signature_opens_what_it_was_made_for_and_nothing_else(site: EdgeSite) -> None:
    """H52."""
    edge, clock = site.home.edge, site.home.platform.clock
    stored = site.publish("processed/webp/private/mine.png.webp", PICTURE, "image/webp")
    other = site.publish("processed/webp/private/other.png.webp", SECRET, "image/webp")
    later = clock.now() + timedelta(hours=1)
    link = edge.signed_url(stored.key, later, stored.sha256 or "")
    assert site.ask(link).status == 200
    query = link.partition("?")[2]
    signature = query.partition("Signature=")[2].partition("&")[0]
    expires = query.partition("Expires=")[2].partition("&")[0]
    forged = [
        f"{path_of(other.key)}?{query}",
        link.replace((stored.sha256 or "")[:16], (other.sha256 or "")[:16]),
        link.replace(f"v={(stored.sha256 or '')[:16]}&", ""),
        link.replace(f"Expires={expires}", f"Expires={int(expires) + 1}"),
        link.replace(f"Expires={expires}", "Expires=9999999999999"),
        link.replace(f"Expires={expires}", "Expires=1e99"),
        link.replace(f"Expires={expires}", "Expires=\u0661\u0662"),
        link.replace(f"Expires={expires}", "Expires="),
        link.replace(signature, signature[:-1]),
        link.replace(signature, signature.swapcase()),
        link.replace(signature, ""),
        link.replace(signature, quote("é\0")),
        link.replace("Key-Id=", "Key-Id=0"),
        f"{link}&Expires={expires}",
        f"{link}&v={(other.sha256 or '')[:16]}",
        f"{link}&extra=1",
        f"{link}&Covers=film",
        f"{link}&download=x.png",
        f"{link}&" + "a=1&" * 100,
        link.replace("/private/", "/private//"),
        link.replace("webp/private", "thumbnails/private"),
    ]
    for target in forged:
        got = site.ask(target.encode("utf-8").decode("latin-1"))
        assert got.status in {400, 403}, target
        assert got.headers["cache-control"] in {"private, no-store", "no-store"}
        assert PICTURE not in got.body
        assert SECRET not in got.body
    for method in ("POST", "PUT", "DELETE"):
        assert site.ask(link, method).status == 405


def test_h52_rotated_keys_open_for_one_rotation_and_no_longer(site: EdgeSite) -> None:
    """H52."""
    edge, clock = site.home.edge, site.home.platform.clock
    stored = site.publish("processed/webp/private/turn.png.webp", PICTURE, "image/webp")
    link = edge.signed_url(stored.key, clock.now() + timedelta(hours=1), stored.sha256 or "")
    edge.rotate_keys(b"1" * 32)
    assert site.ask(link).status == 200
    edge.rotate_keys(b"2" * 32)
    assert site.ask(link).status == 403


# -- H53, H56: what one viewer gets must not reach another ------------------------------------------------------------


def test_h56_a_host_or_a_forwarded_address_changes_no_answer(site: EdgeSite) -> None:
    """H56."""
    stored = site.publish("processed/thumbnails/hosts.png.jpg", PICTURE)
    plain = site.ask(link_to(stored))
    evil = {
        "x_forwarded_host": "evil.example",
        "x_forwarded_proto": "https",
        "x_forwarded_prefix": "/evil",
        "x_original_url": "/processed/text/private/secret.txt.txt",
        "x_rewrite_url": "/processed/text/private/secret.txt.txt",
        "x_http_method_override": "DELETE",
        "forwarded": "host=evil.example;proto=https",
        "cookie": "session=1",
        "authorization": "Bearer x",
        "origin": "https://evil.example",
    }
    for got in (site.ask(link_to(stored), **evil), site.ask(link_to(stored))):
        assert (got.status, got.body) == (200, PICTURE)
        assert "evil" not in repr(got.pairs)
        changed = {"x-cache", "x-request-id"}
        assert {n: v for n, v in got.headers.items() if n not in changed} == {
            n: v for n, v in plain.headers.items() if n not in changed
        }


def test_h56_what_is_kept_is_found_by_path_and_v_alone(site: EdgeSite) -> None:
    """H56: no parameter and no way of writing a path puts an answer where another asks for it."""
    stored = site.publish("processed/thumbnails/poison.png.jpg", PICTURE)
    target = path_of(stored.key)
    for query in ("download=x.exe", "x=1", "v=", "v=0000000000000000", "Signature=a&Expires=1", "V=1", "v=1&v=2"):
        site.ask(f"{target}?{query}")
    for way in (f"{target}%3Fv=1", f"{target};v=1", f"{target}/", f"{target}%20"):
        assert site.ask(way).status in {400, 404}
    got = site.ask(target)
    assert (got.status, got.body) == (200, PICTURE)
    assert "content-disposition" not in got.headers
    assert site.ask(f"{target}?v=1&v={(stored.sha256 or '')[:16]}").status == 400
    assert site.ask(f"{target}?{'a=1&' * 50}").status == 400
    assert site.ask(f"{target}?x={'a' * 5_000}").status == 400


def test_h56_a_private_answer_never_becomes_another_viewer_s(site: EdgeSite) -> None:
    """H53, H56."""
    stored = site.publish("processed/webp/private/shared.png.webp", PICTURE, "image/webp")
    later = site.home.platform.clock.now() + timedelta(hours=1)
    link = site.home.edge.signed_url(stored.key, later, stored.sha256 or "")
    kept = site.app.kept_bytes
    for _ in range(3):
        got = site.ask(link)
        assert (got.status, got.headers["cache-control"], got.result) == (200, "private, no-store", "Miss")
    assert site.app.kept_bytes == kept
    for target in (link_to(stored), path_of(stored.key), f"{path_of(stored.key)}/x.css", f"{path_of(stored.key)}.css"):
        assert site.ask(target).status == 403
    guessed = [site.ask(path_of(f"processed/webp/private/{name}.png.webp", "ab" * 32)) for name in ("shared", "none")]
    assert guessed[0].status == guessed[1].status == 403
    assert guessed[0].body == guessed[1].body


# -- H60: the log -----------------------------------------------------------------------------------------------------


def test_h60_no_request_forges_a_line_of_the_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    """H60: as many lines as requests, each of 33 fields, whatever is in them."""
    evil = "x\n2030-01-01\t00:00:00\tforged\r\n\x1b[31m\t\"'%09\0\x7f\xff"
    with edge_site(tmp_path_factory.mktemp("log")) as site:
        targets = ["/processed/thumbnails/a%09b.jpg", "/processed/thumbnails/a\tb.jpg", f"/raw/{evil}?{evil}", "/"]
        for target in targets:
            site.ask(target, user_agent=evil, referer=evil, host=evil, x_forwarded_for=evil)
        site.ask("/processed/thumbnails/x.jpg", user_agent="\t\"'" * 22_000)
        site.app.close()
        lines: list[str] = []
        for entry in site.home.store.list(BucketRole.ANALYTICS, prefix="cloudfront-logs/").objects:
            with site.home.store.open(BucketRole.ANALYTICS, entry.key) as reader:
                lines += gzip.decompress(reader.read()).decode("ascii").split("\n")[2:-1]
        assert len(lines) == len(targets) + 1
        assert {line.count("\t") for line in lines} == {32}
        assert not any("\x1b" in line or "\r" in line for line in lines)
        assert max(map(len, lines)) < 10_000
        assert lines[0].split("\t")[7] == "/processed/thumbnails/a%09b.jpg"
