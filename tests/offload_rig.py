"""What the tests of offloading share: a small system, a server process, a sink at the end of a link, crowds of clients."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import OffloadError
from fsplit_lib.offload import Client, ShapedLink
from fsplit_lib.system import build_system

LMBDAS = (0.25, 1.0, 4.0)


def small_system(seed=0):
    """Untrained, of continuous rate, for 32 x 32 pictures; answers differ from picture to picture."""
    config = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1), lmbda=1.0, anchors=LMBDAS)
    system = build_system(load_backbone("fashion_resnet"), config, DecoderConfig(1, 1, 16), seed)
    with torch.no_grad():
        for parameter in system.codec.encoder.parameters():
            parameter.mul_(2)
        torch.nn.init.normal_(system.decoder.project.weight, std=0.5, generator=torch.Generator().manual_seed(seed))
    system.codec.update()
    return system.eval()


def pictures(count, side=32, seed=1):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


class ServerProcess:
    """``fsplit serve`` on a free port of loopback; it ends with the block, and with the process that started it.

    Args:
        weights: shipped codec or a folder.
        options: further ones of ``fsplit serve``, such as ``"--max-batch", "4"``.
        token: handed over in the environment, so that no process list shows it.
        port: a free one by default.
        start_s: how long loading may take.
        descriptors: files and sockets that it may have open; None leaves the limit as it is.
    """

    def __init__(self, weights, *options, token=None, port=0, start_s=400.0, descriptors=None):
        call = "from fsplit_lib.cli import main; main()"
        if descriptors:
            call = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors},) * 2); {call}"
        asked = ["serve", "--weights", str(weights), "--port", str(port), "--stop-on-eof", *options]
        self.command = [sys.executable, "-W", "ignore", "-c", call, *asked]
        self.environment = os.environ | ({"FSPLIT_TOKEN": token} if token else {})
        self.start_s, self.url, self.port = start_s, "", 0

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(self.command, env=self.environment, text=True, **pipes)
        alarm = threading.Timer(self.start_s, self.process.kill)
        alarm.start()
        try:
            words = []
            for line in self.process.stdout:
                words.append(line.strip())
                if found := re.search(r"http://\S+:(\d+)", line):
                    self.url, self.port = found[0], int(found[1])
                    threading.Thread(target=self.process.stdout.read, daemon=True).start()  # the pipe never fills
                    return self
        except BaseException:
            self.kill()
            raise
        finally:
            alarm.cancel()
        self.kill()
        raise OffloadError(f"the server did not start within {self.start_s:g} s: {' '.join(words[-3:]) or 'no word'}")

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """End it at once, whatever it is doing."""
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def sink(answer_bytes):
    """A server on loopback: for each line "N\\n" and N more bytes it answers ``answer_bytes`` bytes."""

    def talk(connection):
        with connection, connection.makefile("rb") as lines:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := lines.readline():
                lines.read(int(line))
                connection.sendall(bytes(answer_bytes))

    def run():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def saying(begin, again=b"", pause=0.02):
    """A server on loopback that answers whatever it is asked with ``begin``, and then with ``again`` for ever."""
    over = threading.Event()

    def talk(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(begin)
            while again and not over.wait(pause):
                connection.sendall(again)

    def run():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=run, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def slow_senders(port, count, begin, again, pause=0.1):
    """Connections that send ``begin`` and then ``again`` for ever, and give themselves up only when the block ends."""
    over = threading.Event()

    def drip():
        while not over.wait(pause):
            for one in slow:
                with contextlib.suppress(OSError):
                    one.sendall(again)

    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(count)]
        for one in slow:
            with contextlib.suppress(ConnectionError):  # closed already, to make room
                one.sendall(begin)
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            yield slow
        finally:
            over.set()
            thread.join()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def exchange(connection, up_bytes, down_bytes):
    """Seconds from the first byte of a message to the last of its answer."""
    head = f"{up_bytes}\n".encode()
    head += bytes(max(0, up_bytes))
    begun = time.monotonic()
    connection.sendall(head)
    left = down_bytes
    while left:
        piece = connection.recv(min(left, 1 << 20))
        assert piece, "the link closed early"
        left -= len(piece)
    return time.monotonic() - begun


def measured_ms(link, up_bytes, down_bytes, tries=10, enough=lambda ms: True):
    """The quickest of a few transfers over a standing connection: what the others took longer, the machine was busy."""
    times = []
    with contextlib.ExitStack() as stack:
        shaped = stack.enter_context(ShapedLink(link, stack.enter_context(sink(down_bytes))))
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", shaped.port), timeout=120))
        if down_bytes < 2000:  # the handshake is not part of it
            exchange(connection, 0, down_bytes)
        while len(times) < tries and not (times and enough(times[-1])):
            times.append(1e3 * exchange(connection, up_bytes, down_bytes))
    return min(times)


def crowd(url, wires, answers, seconds, clients=64):
    """Clients that send their own packet again and again; returns how many answers came, all of them right."""
    until = time.monotonic() + seconds
    gate = threading.Barrier(clients)

    def one(number):
        wire, (classes, shares) = wires[number % len(wires)], answers[number % len(wires)]
        count, largest = 0, 0
        with Client(url, timeout_s=60) as client:
            gate.wait(60)
            while time.monotonic() < until or not count:
                reply = client.send(wire, top=3)
                assert (
                    reply.classes == classes
                    and max(abs(a - b) for a, b in zip(reply.probs, shares, strict=True)) < 1e-4
                )
                count, largest = count + 1, max(largest, reply.batch)
        return count, largest

    with ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(one, range(clients)))
    return sum(count for count, _ in done), max(largest for _, largest in done)
