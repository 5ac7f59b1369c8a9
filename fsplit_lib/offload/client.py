"""The device's half of the conversation: one photo's bytes out, one answer in. Standard library only.

POST /answer?top=5    Content-Type: application/octet-stream (a packet) or image/jpeg, image/png, image/webp, image/avif
200                   {"classes": [...], "probs": [...], "decode_ms": ..., "queue_ms": ..., "tail_ms": ..., ...}
4xx, 5xx              {"error": "one sentence"}
"""

import contextlib
import functools
import http.client
import json
import math
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from fsplit_lib.errors import OffloadError, ParameterError

PACKET = "application/octet-stream"
MAX_REPLY = 2**20


@dataclass(frozen=True)
class Reply:
    """An answer and where its time went."""

    classes: tuple[str, ...]  # names, most likely first
    probs: tuple[float, ...]  # of the softmax, in [0, 1]
    decode_ms: float  # entropy decoding, or decoding and cropping the image
    queue_ms: float  # waiting for a batch to form and for the one before
    tail_ms: float  # decoder and tail, or the whole backbone, for the batch this photo was in
    server_ms: float  # from the request's last byte to the answer; more than the sum by the server's own work
    batch: int  # photos in that pass
    total_ms: float  # at the client, from the call to the answer, connecting included


def media_type(data: bytes) -> str | None:
    """Tell what a coded image is by its first bytes; None for anything but JPEG, PNG, WebP and AVIF.

    >>> media_type(bytes.fromhex("ffd8ffe0")), media_type(b"FS")
    ('image/jpeg', None)
    """
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/avif" if data[4:12] in (b"ftypavif", b"ftypavis") else None


def check_token(token: str | None) -> None:
    """Raise ParameterError for a token that no HTTP header can carry; none at all is fine."""
    if token and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise ParameterError("a token travels in an HTTP header: choose printable ASCII, with no space at either end")


def _printable(text: str) -> str:
    """A stranger's words for a terminal: a few, and no control characters, which could move its cursor or recolour it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:400])


class Client(contextlib.AbstractContextManager):
    """Talks to one server; keeps its connection from one photo to the next. Not for several threads at once.

    A call ends after ``timeout_s`` seconds, whatever the server does; https is verified as usual.

    Raises:
        ParameterError: another kind of URL, or a token that cannot travel.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 10.0):
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            parts = urlsplit(url)
            kind, host, self._path = kinds[parts.scheme], parts.hostname or "", parts.path.rstrip("/")
            if not (host and self._path.isascii()):
                raise ValueError("no host, or a path that no request can carry")
            port = kind.default_port if parts.port is None else parts.port
            self._connect = functools.partial(kind, host.encode("idna").decode(), port, timeout=timeout_s)
            self._connection = self._connect()
        except (KeyError, ValueError, http.client.InvalidURL) as error:
            raise ParameterError(f"url must be http://HOST:PORT or https://HOST:PORT, got {url!r}") from error
        check_token(token)
        if not 0 < timeout_s <= threading.TIMEOUT_MAX:
            raise ParameterError(f"timeout_s must be above 0 seconds and finite, got {timeout_s}")
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connection; the next call makes a new one."""
        self._connection.close()

    def send(self, data: bytes, kind: Literal["packet", "image"] = "packet", top: int = 5) -> Reply:
        """Ask for the ``top`` likeliest classes of a packet's wire bytes, or of a JPEG, PNG, WebP or AVIF file.

        Raises:
            ParameterError: an image of another kind.
            OffloadError: no connection, no answer in time, or a refusal, with the server's own sentence.
        """
        content = PACKET if kind == "packet" else media_type(data)
        if content is None:
            raise ParameterError(f"an image must be JPEG, PNG, WebP or AVIF, got bytes that begin with {data[:4]!r}")
        begun = time.monotonic()
        answer = self._ask("POST", f"/answer?top={top}", data, {"Content-Type": content})
        total_ms = 1e3 * (time.monotonic() - begun)
        try:
            times = {name: float(answer[name]) for name in ("decode_ms", "queue_ms", "tail_ms", "server_ms")}
            classes, probs = tuple(map(str, answer["classes"])), tuple(map(float, answer["probs"]))
            if len(classes) != len(probs) or not all(map(math.isfinite, (*times.values(), *probs))):
                raise ValueError("lists of unequal lengths, or numbers that are none")
            return Reply(tuple(map(_printable, classes)), probs, **times, batch=int(answer["batch"]), total_ms=total_ms)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise OffloadError(f"{self.url} answered with something that is no answer") from error

    def health(self) -> dict:
        """Ask what the server says of itself: codec id, backbone and limits.

        Raises:
            OffloadError: as :meth:`send`.
        """
        return self._ask("GET", "/health", None, {})

    def _ask(self, verb: str, path: str, data: bytes | None, headers: dict) -> dict:
        status, body = self._exchange(verb, path, data, headers)
        try:
            content = json.loads(body)
            sentence = None if status == 200 else _printable(str(content["error"]))
            if not isinstance(content, dict):
                raise TypeError("not an object")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise OffloadError(f"{self.url} answered {status}, with a body of no server of ours", status) from error
        if sentence is not None:
            raise OffloadError(f"{self.url} refused ({status}): {sentence}", status)
        return content

    def _exchange(self, *request: object) -> tuple[int, bytes]:
        """Return status and body. A thread talks and is left when the time is up: a socket's timeout starts anew with each byte."""
        connection, outcome = self._connection, Future()

        def talk() -> None:
            try:
                outcome.set_result(self._talk(connection, *request))
            except Exception as error:
                outcome.set_exception(error)

        threading.Thread(target=talk, name="client", daemon=True).start()
        try:
            return outcome.result(self.timeout_s)
        except TimeoutError as error:
            raise OffloadError(f"{self.url} did not answer within {self.timeout_s:g} s") from error
        except ConnectionRefusedError as error:
            raise OffloadError(f"nothing listens at {self.url}: start it with fsplit serve") from error
        except ConnectionError as error:
            raise OffloadError(f"{self.url} closed the connection before it answered: it may have stopped") from error
        except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
            why = _printable(str(error)) or type(error).__name__
            raise OffloadError(f"{self.url} cannot be talked to: {why}") from error
        finally:
            if not outcome.done():  # the thread ends with its socket, and never meets the next call's
                self._connection = self._connect()
                with contextlib.suppress(OSError, AttributeError):  # no socket yet
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _talk(
        self, connection: http.client.HTTPConnection, verb: str, path: str, data: bytes | None, headers: dict
    ) -> tuple[int, bytes]:
        reused = connection.sock is not None
        try:
            connection.request(verb, self._path + path, data, self._headers | headers)
            response, body = connection.getresponse(), bytearray()
            while piece := response.read1(2**16):  # never as much as the server announces
                body += piece
                if len(body) > MAX_REPLY:
                    raise http.client.HTTPException(f"an answer of more than {MAX_REPLY} bytes")
            response.close()
            return response.status, bytes(body)
        except BaseException as error:
            connection.close()
            if reused and isinstance(error, ConnectionError):
                # the server may have closed an idle connection; asking twice changes nothing there
                return self._talk(connection, verb, path, data, headers)
            raise
