"""Downloads against a loopback server that misbehaves in every way seen in the wild."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from resnet_bench.data.download import DownloadFailed, Limits, RemoteFile, _Redirects, fetch, file_digests
from resnet_bench.errors import Failure

CONTENT = random.Random(0).randbytes(400_000)
WRONG = bytes(len(CONTENT))
PATIENT = Limits(timeout_s=10, answer_s=10)
HASTY = Limits(timeout_s=0.3, answer_s=1.5, window_s=0.3)

Behaviour = Callable[[Any], None]


@dataclass
class Mirrors:
    """A server whose every address behaves as it was told; remembers (path, Range header) of each request."""

    port: int = 0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)

    def url(self, behaviour: Behaviour) -> str:
        path = f"/{len(self.behaviours)}/file.bin"
        self.behaviours[path] = behaviour
        return f"http://127.0.0.1:{self.port}{path}"

    def hang(self, handler: Any) -> None:
        self.over.wait(30)


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are expected here."""


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("no_proxy", "*")
    mirrors = Mirrors()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirrors.requests.append((self.path, self.headers["Range"]))
            mirrors.behaviours[self.path](self)

        def log_message(self, *_: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        mirrors.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield mirrors
        mirrors.over.set()
        server.shutdown()
        thread.join()


def head(handler: Any, status: int, **headers: object) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def good(handler: Any, content: bytes = CONTENT, ranges: bool = True, stop: int | None = None) -> None:
    """Send the content, from where Range says if `ranges`, but break off after `stop` bytes of it."""
    asked = handler.headers["Range"]
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and ranges else 0
    if start:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        head(handler, 206, Content_Length=len(content) - start, Content_Range=span)
    else:
        head(handler, 200, Content_Length=len(content))
    handler.wfile.write(content[start:stop])


def status(code: int) -> Behaviour:
    return lambda handler: head(handler, code, Content_Length=0)


def trickle(handler: Any) -> None:
    head(handler, 200, Content_Length=len(CONTENT))
    for at in range(0, len(CONTENT), 1000):
        handler.wfile.write(CONTENT[at : at + 1000])
        time.sleep(0.05)  # 20 kB/s


def header_trickle(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        handler.wfile.write(f"X-{number}: x\r\n".encode())
        time.sleep(0.1)


def unannounced(content: bytes) -> Behaviour:
    """The content without a Content-Length, ended by closing."""

    def behave(handler: Any) -> None:
        head(handler, 200)
        handler.wfile.write(content)

    return behave


def remote(*urls: str, content: bytes = CONTENT) -> RemoteFile:
    md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    return RemoteFile("file.bin", len(content), md5, sha256, urls)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"file.bin.lock"}


def test_fetches_with_progress_and_then_needs_no_server(mirrors: Mirrors, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    wanted = remote(mirrors.url(good))
    for _ in range(2):
        path = fetch(wanted, tmp_path / "new" / "folder", progress=lambda *at: seen.append(at), limits=PATIENT)
        assert path.read_bytes() == CONTENT
    assert len(mirrors.requests) == 1
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert files_in(path.parent) == {"file.bin"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (status(404), "404"),
        (status(500), "500"),
        (status(503), "503"),
        (lambda handler: head(handler, 200, Content_Length=12345), "announces 12345 bytes"),
        (lambda handler: head(handler, 302, Location="ftp://127.0.0.1/file.bin"), "refused to be redirected"),
        (lambda handler: head(handler, 302, Location="file:///etc/passwd"), "not allowed"),
        (lambda handler: head(handler, 302, Location=handler.path), "302"),
        (lambda handler: handler.wfile.write(b"no http at all\r\n\r\n"), "no http at all"),
        (lambda handler: None, "closed connection"),
        (lambda handler: good(handler, WRONG), "wrong content"),
        (unannounced(CONTENT * 3), "wrong content"),
        (unannounced(CONTENT[:1000]), "wrong content (1000 bytes"),
        (lambda handler: head(handler, 206, Content_Range="bytes 7-9/10"), "a part of the file"),
    ],
)  # fmt: skip
def test_a_bad_mirror_is_tried_once_and_the_next_delivers(
    mirrors: Mirrors, tmp_path: Path, bad: Behaviour, reason: str
) -> None:
    first, second = mirrors.url(bad), mirrors.url(good)
    with pytest.raises(DownloadFailed) as caught:
        fetch(remote(first), tmp_path / "alone", limits=PATIENT)
    [(url, why)] = caught.value.failures
    assert url == first and reason in why and "\n" not in why
    assert url in str(caught.value) and caught.value.exit_code == 1
    assert fetch(remote(first, second), tmp_path, limits=PATIENT).read_bytes() == CONTENT


def test_wrong_content_is_kept_aside(mirrors: Mirrors, tmp_path: Path) -> None:
    bad, good_url = mirrors.url(lambda handler: good(handler, WRONG)), mirrors.url(good)
    (tmp_path / "file.bin.rejected").write_text("older")
    fetch(remote(bad, good_url), tmp_path, limits=PATIENT)
    assert (tmp_path / "file.bin.rejected").read_bytes() == WRONG
    assert files_in(tmp_path) == {"file.bin", "file.bin.rejected"}


def test_an_altered_final_file_is_kept_aside_and_replaced(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(WRONG)
    assert fetch(remote(mirrors.url(good)), tmp_path, limits=PATIENT).read_bytes() == CONTENT
    assert (tmp_path / "file.bin.rejected").read_bytes() == WRONG


@pytest.mark.parametrize("slow", ["hang", "stall", "trickle", "header_trickle"])
def test_a_slow_mirror_is_left_for_the_next(mirrors: Mirrors, tmp_path: Path, slow: str) -> None:
    def stall(handler: Any) -> None:
        good(handler, stop=1000)
        handler.wfile.flush()
        mirrors.hang(handler)

    behaviour = {"hang": mirrors.hang, "stall": stall, "trickle": trickle, "header_trickle": header_trickle}[slow]
    began = time.monotonic()
    path = fetch(remote(mirrors.url(behaviour), mirrors.url(good)), tmp_path, limits=HASTY)
    assert path.read_bytes() == CONTENT
    assert time.monotonic() - began < 8
    assert [path for path, _ in mirrors.requests] == ["/0/file.bin", "/1/file.bin"]


def for_ever(mirrors: Mirrors, handler: Any, line: bytes) -> None:
    """Send that line again and again until the client hangs up, which `hung_up` then says."""
    try:
        while not mirrors.over.is_set():
            handler.wfile.write(line)
            time.sleep(0.005)
    except OSError:
        mirrors.hung_up.set()


def endless_trailers(mirrors: Mirrors, handler: Any) -> None:
    head(handler, 200, Transfer_Encoding="chunked")
    handler.wfile.write(f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n")
    for_ever(mirrors, handler, b"X-Trailer: x\r\n")


def endless_size_of_a_chunk(mirrors: Mirrors, handler: Any) -> None:
    head(handler, 200, Transfer_Encoding="chunked")
    for_ever(mirrors, handler, b"0")


def endless_continue(mirrors: Mirrors, handler: Any) -> None:
    for_ever(mirrors, handler, b"HTTP/1.1 100 Continue\r\n\r\n")


def endless_header(mirrors: Mirrors, handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    for_ever(mirrors, handler, b"x")


def endless_error(mirrors: Mirrors, handler: Any) -> None:
    head(handler, 404)
    for_ever(mirrors, handler, bytes(1000))


@pytest.mark.parametrize(
    "behave", [endless_trailers, endless_size_of_a_chunk, endless_continue, endless_header, endless_error]
)
def test_what_never_ends_is_given_up_and_nobody_reads_on(mirrors: Mirrors, tmp_path: Path, behave: Any) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetch(remote(mirrors.url(lambda handler: behave(mirrors, handler))), tmp_path, limits=HASTY)
    assert mirrors.hung_up.wait(20)  # the server can send no more: the connection is closed, whoever was reading
    assert "\n" not in caught.value.failures[0][1]


def test_the_body_of_a_redirect_is_not_read(mirrors: Mirrors, tmp_path: Path) -> None:
    target = mirrors.url(good)

    def endless_redirect(handler: Any) -> None:
        head(handler, 302, Location=target)
        for_ever(mirrors, handler, bytes(100_000))

    assert fetch(remote(mirrors.url(endless_redirect)), tmp_path, limits=HASTY).read_bytes() == CONTENT
    assert mirrors.hung_up.wait(20)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 404 \x1b]0;gone\x07\x1b[31m\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://h/\x1b[2J\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \x1b[2J\r\n\r\n",
        b"\x1b[2J\r\n\r\n",
        b"HTTP/1.1 404 " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_the_words_of_a_server_reach_the_terminal_harmless_and_short(
    mirrors: Mirrors, tmp_path: Path, said: bytes
) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetch(remote(mirrors.url(lambda handler: handler.wfile.write(said))), tmp_path, limits=PATIENT)
    reason = caught.value.failures[0][1]
    assert reason.isprintable() and len(reason) <= 300


def test_a_crawl_says_its_rate(mirrors: Mirrors, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"only \d+\.\d kB/s"):
        fetch(remote(mirrors.url(trickle)), tmp_path, limits=HASTY)


def test_a_mirror_that_breaks_off_is_resumed_once_then_left_for_the_next(mirrors: Mirrors, tmp_path: Path) -> None:
    def breaks_off(handler: Any) -> None:
        start = 100_000 if handler.headers["Range"] else 0
        good(handler, stop=start + 100_000)

    path = fetch(remote(mirrors.url(breaks_off), mirrors.url(good)), tmp_path, limits=PATIENT)
    assert path.read_bytes() == CONTENT
    ranges = [asked for _, asked in mirrors.requests]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_mirror_that_breaks_off_without_progress_is_not_tried_again(mirrors: Mirrors, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="broke off after 0 of"):
        fetch(remote(mirrors.url(lambda handler: good(handler, stop=0))), tmp_path, limits=PATIENT)
    assert len(mirrors.requests) == 1


def not_satisfiable(handler: Any) -> None:
    head(handler, 416, Content_Length=0) if handler.headers["Range"] else good(handler)


def another_range(handler: Any) -> None:
    if handler.headers["Range"]:
        return head(handler, 206, Content_Length=3, Content_Range="bytes 0-2/3")
    return good(handler)


@pytest.mark.parametrize("left", [CONTENT[:1000], WRONG[:1000], WRONG, CONTENT, CONTENT * 2])
@pytest.mark.parametrize(
    "behaviour", [good, lambda handler: good(handler, ranges=False), not_satisfiable, another_range]
)
def test_a_leftover_part_never_spoils_the_result(
    mirrors: Mirrors, tmp_path: Path, behaviour: Behaviour, left: bytes
) -> None:
    (tmp_path / "file.bin.part").write_bytes(left)
    assert fetch(remote(mirrors.url(behaviour)), tmp_path, limits=PATIENT).read_bytes() == CONTENT
    assert len(mirrors.requests) <= 2
    if left == CONTENT:
        assert not mirrors.requests
    if behaviour is good and left == CONTENT[:1000]:
        assert mirrors.requests == [("/0/file.bin", "bytes=1000-")]


def test_redirects_are_followed_a_few_times(mirrors: Mirrors, tmp_path: Path) -> None:
    def chain(length: int) -> str:
        url = mirrors.url(good)
        for _ in range(length):
            url = mirrors.url(lambda handler, to=url: head(handler, 302, Location=to, Content_Length=0))  # type: ignore[misc]
        return url

    assert fetch(remote(chain(5)), tmp_path / "5", limits=PATIENT).read_bytes() == CONTENT
    with pytest.raises(DownloadFailed, match="302"):
        fetch(remote(chain(6)), tmp_path / "6", limits=PATIENT)


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "https://b/x", True),
        ("http://a/x", "https://a/x", True),
        ("http://a/x", "http://b/x", True),
        ("http://a/x", "ftp://b/x", False),
    ],
)
def test_redirects_never_leave_encryption(source: str, target: str, allowed: bool) -> None:
    def follow() -> urllib.request.Request | None:
        request = urllib.request.Request(source)
        return _Redirects(5).redirect_request(request, None, 302, "Found", {}, target)

    if allowed:
        followed = follow()
        assert followed and followed.full_url == target
    else:
        with pytest.raises(urllib.error.URLError, match="refused"):
            follow()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "/etc/passwd", "https://["])
def test_only_http_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetch(remote(url, content=b"x"), tmp_path)
    assert caught.value.failures[0][0] == url


def test_a_failing_tls_handshake_and_a_closed_port_are_reasons(mirrors: Mirrors, tmp_path: Path) -> None:
    urls = (f"https://127.0.0.1:{mirrors.port}/x", "http://127.0.0.1:9/x", mirrors.url(status(404)))
    with pytest.raises(DownloadFailed) as caught:
        fetch(remote(*urls), tmp_path, limits=PATIENT)
    assert tuple(url for url, _ in caught.value.failures) == urls
    assert all(url in str(caught.value) and why in str(caught.value) for url, why in caught.value.failures)
    assert "SSL" in caught.value.failures[0][1]


FETCH = """
import sys
from pathlib import Path
from resnet_bench.data.download import Limits, RemoteFile, fetch
folder, size, md5, sha256, url = sys.argv[1:]
fetch(RemoteFile("file.bin", int(size), md5, sha256, (url,)), Path(folder), limits=Limits(timeout_s=20, answer_s=20))
"""


def start_fetch(wanted: RemoteFile, folder: Path) -> subprocess.Popen[bytes]:
    arguments = (str(folder), str(wanted.size), wanted.md5, wanted.sha256, *wanted.urls)
    root = str(Path(__file__).parents[2])
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], env={**os.environ, "PYTHONPATH": root})


def test_eight_processes_download_once(mirrors: Mirrors, tmp_path: Path) -> None:
    def slow(handler: Any) -> None:
        time.sleep(0.5)  # so that the others arrive while the first is at it
        good(handler)

    wanted = remote(mirrors.url(slow))
    processes = [start_fetch(wanted, tmp_path) for _ in range(8)]
    assert [process.wait(30) for process in processes] == [0] * 8
    assert len(mirrors.requests) == 1
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert files_in(tmp_path) == {"file.bin"}


def test_what_a_killed_process_left_is_resumed(mirrors: Mirrors, tmp_path: Path) -> None:
    def half_then_hang(handler: Any) -> None:
        if handler.headers["Range"]:
            return good(handler)
        good(handler, stop=200_000)
        handler.wfile.flush()
        return mirrors.hang(handler)

    wanted, part = remote(mirrors.url(half_then_hang)), tmp_path / "file.bin.part"
    process = start_fetch(wanted, tmp_path)
    give_up = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < give_up:
        time.sleep(0.02)
    process.kill()
    process.wait()
    left = part.stat().st_size
    assert left > 0
    assert fetch(wanted, tmp_path, limits=PATIENT).read_bytes() == CONTENT
    assert mirrors.requests[-1] == ("/0/file.bin", f"bytes={left}-")


def test_a_folder_that_cannot_be_written_is_a_failure_that_says_so(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    for folder in (tmp_path / "occupied", tmp_path / "occupied" / "below"):
        with pytest.raises(Failure) as caught:
            fetch(remote(mirrors.url(good)), folder, limits=PATIENT)
        assert str(folder) in str(caught.value) and str(len(CONTENT)) in str(caught.value)
    assert not mirrors.requests


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_a_full_disk_is_a_failure_and_leaves_no_final_file(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Failure, match=os.strerror(code)):
        fetch(remote(mirrors.url(good)), tmp_path, limits=PATIENT)
    assert not (tmp_path / "file.bin").exists()


def test_file_digests(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    assert file_digests(path) == (hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest())
