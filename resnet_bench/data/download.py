"""Fetch one file whose size and checksums are known, from the first of several mirrors that delivers it.

Bytes go to `<name>.part`, are verified, and only then take the final name. A lock beside the file lets one process at a
time write the part, so its name can be fixed and whatever a killed process, or another mirror, left in it is resumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Self
from urllib.parse import urlsplit

from filelock import FileLock

from resnet_bench.errors import Failure
from resnet_bench.text import one_line

CHUNK = 1 << 18  # bytes
MOST_REASON = 300  # characters

Progress = Callable[[int, int], None]  # (bytes so far, bytes in all)


@dataclass(frozen=True)
class RemoteFile:
    """A file with known content: its size in bytes, its checksums as hex digits, its mirrors in order of preference.

    The SHA-256 is empty where only an MD5 was published.
    """

    name: str
    size: int
    md5: str
    sha256: str
    urls: tuple[str, ...]

    def accepts(self, md5: str, sha256: str) -> bool:
        """Are these its checksums."""
        return md5 == self.md5 and self.sha256 in ("", sha256)


@dataclass(frozen=True)
class Limits:
    """How long a mirror is waited for. One that hangs costs at most answer_s + timeout_s seconds."""

    timeout_s: float = 10.0  # without a byte, on an open connection
    answer_s: float = 15.0  # from the request to the end of the answer's header, redirects included
    min_rate: float = 200_000.0  # bytes/s, measured over each window
    window_s: float = 30.0
    max_redirects: int = 5
    attempts_per_url: int = 2  # a further attempt only goes on with a transfer that broke off


DEFAULT_LIMITS = Limits()


class DownloadFailed(Failure):
    """No mirror delivered the file. `failures` holds (url, reason) of every attempt, in order."""

    def __init__(self, name: str, failures: list[tuple[str, str]]) -> None:
        self.failures = failures
        super().__init__("\n".join([f"{name} could not be downloaded", *(f"  {url}: {why}" for url, why in failures)]))


class _Trouble(Exception):
    """This attempt failed; `again` says whether the same mirror deserves another."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(one_line(" ".join(reason.split()))[:MOST_REASON])  # it may be the server's words
        self.again = again


def fetch(
    remote: RemoteFile, folder: Path, *, progress: Progress | None = None, limits: Limits = DEFAULT_LIMITS
) -> Path:
    """The path folder/name of the verified file, downloaded unless it is there already.

    Safe to call from several processes at once: one downloads, the others wait for it.

    Raises:
        DownloadFailed: every mirror failed; what has arrived stays in `<name>.part` for the next call.
        Failure: the folder cannot be written.
    """
    download = _Download(remote, folder / remote.name, progress, limits)
    try:
        if not download.is_whole(download.final):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{remote.name}.lock"):
                if not download.is_whole(download.final):  # another process may have finished while this one waited
                    download.run()
    except OSError as error:
        raise Failure(f"cannot write {download.final}, which needs {remote.size} bytes: {error}") from error
    return download.final


def file_digests(path: Path) -> tuple[str, str]:
    """(md5, sha256) of a file as hex digits, read once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
    return md5.hexdigest(), sha256.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _set_aside(path: Path, final: Path) -> Path:
    return path.replace(final.with_name(f"{final.name}.rejected"))


@dataclass(frozen=True)
class _Download:
    remote: RemoteFile
    final: Path
    progress: Progress | None
    limits: Limits

    @property
    def part(self) -> Path:
        return self.final.with_name(f"{self.final.name}.part")

    def is_whole(self, path: Path) -> bool:
        return _size(path) == self.remote.size and self.remote.accepts(*file_digests(path))

    def run(self) -> None:
        failures: list[tuple[str, str]] = []
        for url in self.remote.urls:
            for _ in range(self.limits.attempts_per_url):
                try:
                    return self.attempt(url)
                except _Trouble as trouble:
                    failures.append((url, str(trouble)))
                    if not trouble.again:
                        break
        raise DownloadFailed(self.remote.name, failures)

    def attempt(self, url: str) -> None:
        """Complete the part from this mirror, verify it, and give it the final name."""
        start = _size(self.part)
        if start < self.remote.size:
            self.transfer(url)
        if not self.is_whole(self.part):
            found = f"{_size(self.part)} bytes with sha256 {file_digests(self.part)[1]}"
            aside = _set_aside(self.part, self.final)
            # The fault may lie in bytes that were there before: a resumed download is tried again, from the start.
            raise _Trouble(
                f"wrong content ({found}, not {self.remote.sha256 or self.remote.md5}), kept at {aside}",
                again=start > 0,
            )
        if self.final.exists():
            _set_aside(self.final, self.final)
        self.part.replace(self.final)

    def transfer(self, url: str) -> None:
        """Append to the part, or start it anew where the server does not resume, until the body ends."""
        with closing(_Line()) as line:
            self.receive(line, url)

    def receive(self, line: _Line, url: str) -> None:
        response, start = _request(url, _size(self.part), self.limits, line)
        size, whole = start, self.remote.size
        with response:
            announced = response.headers.get("Content-Length")
            if announced not in (None, str(whole - start)):
                raise _Trouble(f"announces {announced} bytes where {whole - start} are expected")
            with self.part.open("ab" if start else "wb") as file:
                for chunk in _chunks(response, self.limits, line):
                    file.write(chunk)
                    size += len(chunk)
                    if self.progress:
                        self.progress(size, whole)
                    if size > whole:
                        break  # too long: it will be found wrong
                file.flush()
                os.fsync(file.fileno())
        # Where the length was announced, a short body broke off. Where not, it may have ended, and is found wrong.
        if announced and size < whole:
            raise _Trouble(f"broke off after {size} of {whole} bytes", again=size > start)


def _request(url: str, start: int, limits: Limits, line: _Line) -> tuple[Any, int]:
    """The open response and the offset in the file at which its body begins: `start`, or 0 if it cannot resume."""
    headers = {"User-Agent": "resnet-bench"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = _open(urllib.request.Request(url, headers=headers), limits, line)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return _request(url, 0, limits, line)
        raise _Trouble(str(error)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Trouble(str(error) or type(error).__name__) from error
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return response, 0
    if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return response, start
    response.close()
    if not start:
        raise _Trouble("sends a part of the file where the whole was asked for")
    return _request(url, 0, limits, line)


class _Line:
    """The connections of one request. `close` ends, from any thread, every wait on them, now and later."""

    def __init__(self) -> None:
        self._lock, self._held, self.closed = Lock(), list[socket.socket](), False

    def hold(self, connected: socket.socket) -> None:
        """Have this connection ended by `close`: by a duplicate, as TLS and urllib take the socket itself away."""
        with self._lock:
            self._held.append(connected.dup())
        if self.closed:
            self.close()

    def close(self) -> None:
        """End them all; nobody reads on, whoever waits gets the end of the stream or an OSError."""
        with self._lock:
            self.closed = True
            held, self._held = self._held, []
        for connection in held:
            with contextlib.suppress(OSError), connection:
                connection.shutdown(socket.SHUT_RDWR)


def _opener(limits: Limits, line: _Line) -> urllib.request.OpenerDirector:
    """urllib's, whose connections are held by the line, from before a TLS handshake on."""

    class Held(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            line.hold(self.sock)

    class HeldTLS(http.client.HTTPSConnection, Held):  # whose connect first calls that of Held
        pass

    class HTTP(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Held, req)

    class HTTPS(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(HeldTLS, req)

    return urllib.request.build_opener(HTTP, HTTPS, _Redirects(limits.max_redirects))


def _open(request: urllib.request.Request, limits: Limits, line: _Line) -> Any:
    """urlopen with a bound on the whole of it.

    A socket's timeout bounds each step only, and name lookup, several addresses, TLS, redirects and a header that
    trickles are many steps. So they happen in a thread; when it is given up its connections are ended, and so is it.
    """
    if request.type not in ("http", "https"):
        raise ValueError(f"only http and https are fetched, not {request.type}")
    opener = _opener(limits, line)
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            answer.set_result(opener.open(request, timeout=limits.timeout_s))
        except Exception as error:
            answer.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return answer.result(timeout=limits.answer_s)
    except TimeoutError:
        waited = limits.timeout_s if answer.done() else limits.answer_s  # the socket's patience or ours
        line.close()
        answer.add_done_callback(lambda late: late.exception() or late.result().close())
        raise TimeoutError(f"no answer within {waited:g} s") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, never from an encrypted address to another kind, and reads none of their bodies."""

    def __init__(self, most: int) -> None:
        vars(self).update(max_redirections=most, max_repeats=most)

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> urllib.request.Request | None:
        body, code, _, headers, url = args
        if body is not None:
            body.close()  # which may have no end; what urllib then reads of it is nothing
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise urllib.error.HTTPError(req.full_url, code, f"refused to be redirected to {url}", headers, body)
        return super().redirect_request(req, *args)


def _chunks(response: Any, limits: Limits, line: _Line) -> Iterator[bytes]:
    """The body as it arrives, until its end or until the connection breaks; no stall, no crawl."""
    began, received = time.monotonic(), 0
    with _Watchdog(line, limits.timeout_s) as watchdog:
        while True:
            try:
                with watchdog.waiting():
                    chunk = response.read1(CHUNK)
            except TimeoutError:
                raise _Trouble(f"no byte for {limits.timeout_s:g} s") from None
            except (OSError, http.client.HTTPException, ValueError):
                chunk = b""  # broken off: the caller sees that bytes are missing
            if line.closed:
                raise _Trouble(f"no byte of the file for {limits.timeout_s:g} s")
            if not chunk:
                return
            yield chunk
            received += len(chunk)
            elapsed = time.monotonic() - began
            if elapsed >= limits.window_s:
                if received < limits.min_rate * elapsed:
                    raise _Trouble(f"only {received / elapsed / 1000:.1f} kB/s over {elapsed:.0f} s")
                began, received = time.monotonic(), 0


class _Watchdog:
    """Closes the line when one wait takes too long.

    A socket's timeout begins anew with every byte, and bytes that are not the file's (sizes of chunks, trailers) can
    come for ever within a single read.
    """

    def __init__(self, line: _Line, patience_s: float) -> None:
        self.line, self.patience_s = line, patience_s
        self._since: float | None = None
        self._over = Event()

    def __enter__(self) -> Self:
        Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Within, the line is waited for."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _watch(self) -> None:
        while not self._over.wait(self.patience_s / 4):
            since = self._since
            if since is not None and time.monotonic() - since > self.patience_s:
                self.line.close()
