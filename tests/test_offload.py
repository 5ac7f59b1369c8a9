"""The link costs what it says, the server answers as the system does, and nothing sent to it brings it down."""

import contextlib
import http.client
import io
import json
import math
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offload_rig import (
    LMBDAS,
    ServerProcess,
    crowd,
    measured_ms,
    pictures,
    saying,
    sink,
    slow_senders,
    small_system,
    wait_for,
)
from PIL import Image
from test_cli import fsplit, refused

from fsplit_lib import zoo
from fsplit_lib.data import center_crop, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import OffloadError, ParameterError
from fsplit_lib.offload import LINKS, Client, Link, ShapedLink
from fsplit_lib.offload.link import SEGMENT_BYTES, Way
from fsplit_lib.offload.server import Settings, _uvicorn, build_app, listen, serving
from fsplit_lib.packet import Packet
from fsplit_lib.system import load_system, save_system

MB = 1_000_000


def expected(system, packets, top=3):
    shares, indices = system.answer(packets).softmax(1).topk(top)
    names = system.backbone.class_names
    return [(tuple(names[i] for i in row), tuple(s)) for row, s in zip(indices.tolist(), shares.tolist(), strict=True)]


def agrees(reply, wanted):
    return reply.classes == wanted[0] and np.allclose(reply.probs, wanted[1], atol=1e-4)


def coded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def system():
    return small_system()


@pytest.fixture(scope="module")
def port(system):
    with serving(system, settings=Settings(max_bytes=50_000, max_pixels=100 * 100)) as port:
        yield port


@pytest.fixture
def client(port):
    with Client(f"http://127.0.0.1:{port}") as client:
        yield client


@pytest.fixture(scope="module")
def wire(system):
    return system.codec.compress(pictures(1))[0].to_bytes()


# --- the link


@pytest.mark.parametrize(
    ("name", "up", "down"),
    [
        ("LTE uplink", MB, 1),
        ("LTE uplink", 3, MB),
        ("Wi-Fi", 5 * MB, 1),
        ("Wi-Fi", 3, 5 * MB),
        ("5G", 6 * MB, 1),
        ("5G", 3, 12 * MB),
    ],
)
def test_megabytes_take_what_the_preset_says(name, up, down):
    said = LINKS[name].transfer_ms(up, down)  # about a second each: of less, 5 % is what a busy machine may be late
    took = measured_ms(LINKS[name], up, down, tries=4, enough=lambda ms: abs(ms / said - 1) < 0.05)
    assert took == pytest.approx(said, rel=0.05)


def test_thirty_kilobytes_over_bluetooth_take_what_the_preset_says():
    said = LINKS["BLE"].transfer_ms(30_000, 100)
    assert measured_ms(LINKS["BLE"], 30_000, 100, tries=2) == pytest.approx(said, rel=0.05)


def test_closed_form():
    link = Link("", 8.0, 80.0, 30.0)
    assert link.transfer_ms(0, 0) == 0
    assert link.transfer_ms(1000, 0) == pytest.approx(1 + 30)
    assert link.transfer_ms(1000, 1000) == pytest.approx(1 + 0.1 + 60)
    assert LINKS["loopback"].transfer_ms(MB, MB) == 0
    # 20 bytes of 676 µs: preamble, address, header and CRC are 10 bytes of 8 µs, beside 27 of payload
    assert LINKS["BLE"].uplink_mbit_s == pytest.approx(20 * 8 / ((10 + 27) * 8 + 150 + 10 * 8 + 150), rel=1e-3)


def test_loss_costs_what_the_closed_form_says_on_average():
    link, segments = Link("", 8.0, 8.0, 20.0, loss=0.2), 2000
    way = Way(link, link.uplink_mbit_s, random.Random(0))
    took = [way.schedule(0.0, SEGMENT_BYTES) for _ in range(segments)][-1]
    assert 1e3 * took == pytest.approx(link.transfer_ms(segments * SEGMENT_BYTES, 0), rel=0.1)
    assert 1e3 * took > 5 * Link("", 8.0, 8.0, 20.0).transfer_ms(segments * SEGMENT_BYTES, 0)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 5000)), min_size=1, max_size=30),
    st.floats(0.1, 100),
    st.floats(0, 50),
    st.floats(0, 0.3),
    st.integers(0, 99),
)
def test_no_link_changes_the_order_or_beats_its_own_rate(chunks, rate, jitter, loss, seed):
    link = Link("", rate, rate, 50.0, jitter, loss)
    ways = [Way(link, rate, random.Random(seed)) for _ in range(2)]
    now, total, last = 0.0, 0, 0.0
    for pause, size in chunks:
        now, total = now + pause, total + size
        arrival = ways[0].schedule(now, size)
        assert arrival == ways[1].schedule(now, size)  # a seed repeats
        assert arrival >= last
        assert arrival >= now + size * 8e-6 / rate + 1e-3 * (50 - jitter) - 1e-9
        assert arrival >= total * 8e-6 / rate
        last = arrival
    assert ways[0].bytes == total


def test_a_new_connection_costs_a_round_trip_more():
    link = Link("", 100.0, 100.0, 40.0)
    with sink(10) as port, ShapedLink(link, port) as shaped:
        times = []
        for _ in range(5):
            begun = time.monotonic()
            with socket.create_connection(("127.0.0.1", shaped.port), timeout=20) as connection:
                for _ in range(2):
                    connection.sendall(b"0\n")
                    assert len(connection.recv(10)) == 10
                    times.append(time.monotonic() - begun)
                    begun = time.monotonic()
        assert shaped.up.bytes == 20 and shaped.down.bytes == 100
    assert 0.16 <= min(times[::2]) < 0.24 and 0.08 <= min(times[1::2]) < 0.16


def test_a_link_is_bounded_in_connections_and_in_time():
    with sink(1) as port, ShapedLink(LINKS["loopback"], port, max_connections=2, lifetime_s=1.5) as shaped:
        ask = [socket.create_connection(("127.0.0.1", shaped.port), timeout=20) for _ in range(3)]
        with contextlib.ExitStack() as stack:
            for one in map(stack.enter_context, ask):
                with contextlib.suppress(OSError):
                    one.sendall(b"0\n")
            heard = []
            for one in ask:
                try:
                    heard.append(one.recv(1))
                except ConnectionError:
                    heard.append(b"")
            assert sorted(heard) == [b"", b"\0", b"\0"]
            with contextlib.suppress(ConnectionError):
                assert ask[0].recv(1) == b""  # within the 20 s of the socket: the lifetime is over
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", shaped.port), timeout=5)


@pytest.mark.parametrize("wrong", [{"uplink_mbit_s": 0}, {"delay_ms": -1}, {"jitter_ms": 60}, {"loss": 0.9}])
def test_impossible_links_are_refused(wrong):
    with pytest.raises(ParameterError):
        Link(**({"name": "", "uplink_mbit_s": 1, "downlink_mbit_s": 1, "delay_ms": 50} | wrong))


def test_every_preset_says_where_it_comes_from():
    assert list(LINKS) == ["BLE", "LTE uplink", "Wi-Fi", "5G", "loopback"]
    for link in LINKS.values():
        assert "doi:" in link.source or "ITU-R" in link.source or link.source.startswith(("assumption", "unshaped"))


def test_link_and_client_need_no_torch():
    code = "import sys, fsplit_lib.offload; print({'torch', 'numpy', 'PIL', 'starlette'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


# --- the server answers as the system does


def test_packets_of_any_rate_and_size_at_once(system, client):
    cases = []
    for side in (32, 64):
        x = pictures(4, side)
        for lmbda in LMBDAS:
            packets = system.codec.compress(x, lmbda)
            cases += zip((p.to_bytes() for p in packets), expected(system, packets), strict=True)

    def ask(case):
        with Client(client.url) as mine:
            return agrees(mine.send(case[0], top=3), case[1])

    assert len({wanted for _, wanted in cases}) == len(cases)  # else a mix-up would not show
    with ThreadPoolExecutor(len(cases)) as pool:
        assert all(pool.map(ask, cases))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "AVIF"])
def test_images_are_cropped_unless_they_have_the_right_size(system, client, kind):
    for image in (center_crop(load_photo("coffee"), 32), load_photo("coffee").resize((80, 60))):
        data = coded(image, kind)
        decoded = Image.open(io.BytesIO(data)).convert("RGB")
        crop = decoded if decoded.size == (32, 32) else center_crop(decoded, 32)
        with torch.no_grad():
            shares = system.backbone(photo_tensor(crop)).softmax(1)[0]
        reply = client.send(data, "image", top=10)
        assert reply.classes[0] == system.backbone.class_names[int(shares.argmax())]
        assert np.allclose(reply.probs, shares.sort(descending=True).values, atol=1e-4)


def test_times_add_up(client, wire):
    reply = client.send(wire)
    parts = (reply.decode_ms, reply.queue_ms, reply.tail_ms)
    assert min(parts) >= 0 and sum(parts) <= reply.server_ms + 0.01 < reply.total_ms
    assert len(reply.classes) == len(reply.probs) == 5 and reply.batch == 1


def test_an_answer_does_not_wait_for_a_delayed_acknowledgement(client):
    def took():
        begun = time.monotonic()
        client.health()
        return time.monotonic() - begun

    assert min(took() for _ in range(20)) < 0.03  # 40 ms with Nagle's algorithm


def test_what_waits_goes_in_one_pass(system, monkeypatch):
    tail = system.backbone.tail
    wires = [p.to_bytes() for p in system.codec.compress(pictures(9))]
    sizes, decoded, decompress = [], [], system.codec.decompress
    monkeypatch.setattr(system.codec, "decompress", lambda packets: (decoded.append(1), decompress(packets))[1])

    class Slow(torch.nn.Module):
        def forward(self, h):
            sizes.append(len(h))
            wait_for(lambda: len(decoded) == 9)
            time.sleep(0.3)  # from decoded to queued
            return tail(h)

    system.backbone.tail = Slow()
    try:
        with serving(system, settings=Settings(max_batch=4, batch_wait_ms=0)) as port:

            def ask(data):
                with Client(f"http://127.0.0.1:{port}") as mine:
                    return mine.send(data).batch

            with ThreadPoolExecutor(9) as pool:
                batches = list(pool.map(ask, wires))
    finally:
        system.backbone.tail = tail
    assert max(sizes) == max(batches) == 4 and sum(sizes) == 9


def test_64_clients_lose_and_mix_up_nothing(system, client):
    packets = system.codec.compress(pictures(64))
    wires, answers = [p.to_bytes() for p in packets], expected(system, packets)
    assert len(set(answers)) == 64
    count, largest = crowd(client.url, wires, answers, seconds=4)
    assert count >= 64 and largest > 1


def test_the_shipped_codec_over_http():
    system = load_system("photo")
    photo = load_photo("coffee")
    packets = system.codec.compress(photo_tensor(center_crop(photo, 224)), 1.0)
    with serving(system) as port, Client(f"http://127.0.0.1:{port}", timeout_s=60) as client:
        assert client.health()["codec_id"] == packets[0].codec_id.hex()
        assert agrees(client.send(packets[0].to_bytes(), top=3), expected(system, packets)[0])


# --- what is wrong is refused with one sentence


def test_a_thousand_mutated_packets_leave_it_answering(system, client, wire):
    rng, answered = random.Random(7), 0
    wanted = expected(system, [Packet.from_bytes(wire)])[0]

    def mutate():
        bent = bytearray(wire)
        for _ in range(rng.choice((1, 1, 2, 8))):
            action, at = rng.randrange(4), rng.randrange(len(bent))
            if action == 0:
                bent[at] ^= 1 << rng.randrange(8)
            elif action == 1:
                del bent[at : at + rng.randrange(1, 9)]
            elif action == 2:
                bent[at:at] = rng.randbytes(rng.randrange(1, 9))
            else:
                bent[at] = rng.randrange(256)
            if not bent:
                return b"\0"
        if rng.random() < 0.3:  # a checksum that holds: what lies below has to refuse
            bent[-4:] = zlib.crc32(bytes(bent[:-4])).to_bytes(4, "little")
        return bytes(bent)

    client.health()
    mine = client._connection.sock
    for _ in range(1200):
        bent = mutate()
        try:
            reply = client.send(bent, top=10)
            answered += 1
            assert sum(reply.probs) == pytest.approx(1, abs=1e-3)
        except OffloadError as error:
            assert error.status == 400 and "Traceback" not in str(error) and "\n" not in str(error)
    assert answered < 400 and client._connection.sock is mine  # all over one connection
    assert agrees(client.send(wire, top=3), wanted)


def test_a_foreign_packet_is_told_both_codecs(client, wire):
    packet = Packet.from_bytes(wire)
    foreign = Packet(b"abcd", packet.height, packet.width, packet.lmbda_code, packet.streams).to_bytes()
    with pytest.raises(OffloadError, match=rf"400.*codec 61626364, this is codec {packet.codec_id.hex()}") as caught:
        client.send(foreign)
    assert caught.value.status == 400


@pytest.mark.parametrize(("height", "width"), [(4096, 4096), (66, 64), (132, 4), (4, 65532)])
def test_a_packet_may_not_ask_for_more_than_the_network_was_made_for(client, wire, height, width):
    packet = Packet.from_bytes(wire)
    huge = Packet(packet.codec_id, height, width, packet.lmbda_code, packet.streams).to_bytes()
    with pytest.raises(OffloadError, match="pixels; this server takes at most 4096, and 128 a side.*32 x 32") as caught:
        client.send(huge)
    assert caught.value.status == 400


def raw(port, verb, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(verb, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("status", "verb", "path", "body", "content", "word"),
    [
        (404, "POST", "/else", b"", "application/octet-stream", "Not Found"),
        (405, "GET", "/answer", None, "", "Not Allowed"),
        (415, "POST", "/answer", b"x", "application/x-pickle", "Content-Type"),
        (400, "POST", "/answer", b"", "application/octet-stream", "cut short"),
        (400, "POST", "/answer", b"%!PS-Adobe-3.0 EPSF-3.0", "image/jpeg", "not image/jpeg"),
        (400, "POST", "/answer", b"\xff\xd8\xff\xe0garbage", "image/jpeg", "cut short"),
        (400, "POST", "/answer?top=0", b"", "application/octet-stream", "top"),
        (400, "POST", "/answer?top=000000005999", b"", "application/octet-stream", "top"),
        (400, "POST", "/answer?top=%D9%A3", b"", "application/octet-stream", "top"),
        (400, "POST", "/answer?top=11", b"", "application/octet-stream", "top"),
        (400, "POST", "/answer?top=" + "9" * 50, b"", "application/octet-stream", "top"),
    ],
)
def test_malformed_requests_get_one_sentence(port, status, verb, path, body, content, word):
    got, text = raw(port, verb, path, body, {"Content-Type": content})
    assert got == status and text.startswith('{"error":"') and word in text and "Traceback" not in text


def test_lines_that_are_not_http_get_400(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\x80\x04pickle?\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("size", [50_001, 150_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_payload_limit(port, client, wire, size, chunked):
    body = iter([bytes(10_000)] * math.ceil(size / 10_000)) if chunked else bytes(size)
    try:
        status, text = raw(port, "POST", "/answer", body, {"Content-Type": "application/octet-stream"})
        assert status == 413 and "50000 bytes" in text
    except ConnectionError:
        assert size > 4 * 50_000  # closed while it was still being sent
    assert client.send(wire).classes


def test_the_token(system, wire):
    with serving(system, token="geheim") as port:
        url = f"http://127.0.0.1:{port}"
        for token in (None, "", "falsch", "geheim2"):
            with Client(url, token) as client, pytest.raises(OffloadError, match="401.*token") as caught:
                client.send(wire)
            assert caught.value.status == 401
        with Client(url, "geheim") as client:
            assert client.send(wire).classes
        status, _ = raw(port, "POST", "/answer", bytes(100_000), {"Content-Type": "application/octet-stream"})
        assert status == 401


@pytest.mark.parametrize("token", ["\u65e5\u672c", "ü", "two\nlines", "geheim ", " geheim", " "])
def test_a_token_that_no_header_can_carry(token):
    for end in (lambda: Client("http://127.0.0.1:1", token), lambda: listen("127.0.0.1", 0, token)):
        with pytest.raises(ParameterError, match="token.*ASCII"):
            end()


def test_other_addresses_need_a_token():
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ParameterError, match=f"host {host} can be reached by others: a token is required"):
            listen(host, 0, None)
        with pytest.raises(ParameterError, match="a token is required"):
            listen(host, 0, "")
    with pytest.raises(ParameterError, match="host must be"):
        listen("example.org", 0, "token")
    with listen("127.0.0.1", 0, None) as taken, pytest.raises(ParameterError, match="cannot listen.*--port"):
        listen("localhost", taken.getsockname()[1], None)


# --- time runs out, things break


def test_a_slow_sender_and_a_slow_pass_are_cut_off(system, wire):
    decoder = system.decoder.forward
    system.decoder.forward = lambda y: (time.sleep(1.5), decoder(y))[1]
    try:
        with serving(system, settings=Settings(timeout_s=0.5)) as port, Client(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(OffloadError, match=r"503.*more than 0.5 s to be answered"):
                client.send(wire)
            with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
                slow.sendall(
                    b"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 99\r\n\r\nFS"
                )
                assert slow.recv(1000).startswith(b"HTTP/1.1 408")
            system.decoder.forward = decoder
            assert wait_for(lambda: answered(client, wire))  # the pass that was given up has to end before
    finally:
        system.decoder.forward = decoder


def answered(client, data):
    with contextlib.suppress(OffloadError):
        return client.send(data).classes


def heard(connection):
    """What still comes before the other end closes."""
    words = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            words += piece
    return words


POST = b"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "again", "last"),
    [
        (b"POST /ans", b"w", b""),
        (b"GET /health HTTP/1.1\r\nX: ", b"x", b""),
        (b"", b"", b""),
        (POST, b"F", b"HTTP/1.1 408"),
    ],
)
def test_no_number_of_slow_senders_keeps_a_good_one_out(system, wire, begin, again, last):
    with (
        serving(system, settings=Settings(max_waiting=4, timeout_s=3)) as port,  # 32 connections
        slow_senders(port, 50, begin, again) as slow,
    ):
        for _ in range(40):
            with Client(f"http://127.0.0.1:{port}") as client:
                assert client.send(wire).classes
        words = [heard(one) for one in slow]  # each is closed by the other end
        assert not any(words[:15]) and words[-1].startswith(last)  # the first to come were the first to go
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.send(wire).classes


def test_what_was_refused_with_its_body_unread_is_closed(system, wire):
    with serving(system, token="geheim", settings=Settings(timeout_s=2)) as port:
        with slow_senders(port, 3, POST, b"F") as slow:
            for one in slow:
                assert heard(one).startswith(b"HTTP/1.1 401")
        with Client(f"http://127.0.0.1:{port}") as patient:  # one that sends all of it is heard, and goes on
            for _ in range(2):
                with pytest.raises(OffloadError, match="401"):
                    patient.send(bytes(4 * MB))
                connection = patient._connection.sock
            assert patient.health() and patient._connection.sock is connection


def test_bodies_on_their_way_are_bounded_together(system, wire):
    with serving(system, settings=Settings(max_waiting=2, max_bytes=1000)) as port:
        with slow_senders(port, 2, POST + bytes(900), b""), Client(f"http://127.0.0.1:{port}") as client:

            def said():
                with pytest.raises(OffloadError) as caught:
                    client.send(bytes(999))
                return str(caught.value)

            wait_for(lambda: "503" in (words := said()) and "too many requests are being sent" in words)
        assert wait_for(lambda: Client(f"http://127.0.0.1:{port}").send(wire)).classes


def test_clients_that_do_not_read_their_answers_are_closed(system, wire, monkeypatch):
    def listen_small(*address):
        listener = listen(*address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # or the system would keep megabytes of answers
        return listener

    def closed(connection):
        try:
            connection.send(b"x")
        except ConnectionError:
            return True

    monkeypatch.setattr("fsplit_lib.offload.server.listen", listen_small)
    monkeypatch.setattr(system.backbone, "name", "x" * MB)  # which GET /health tells
    ask = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        serving(system, settings=Settings(max_waiting=4, timeout_s=3)) as port,
        slow_senders(port, 50, ask, b"") as deaf,
    ):
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(lambda: answered(client, wire))  # by then their own answers are under way
        for _ in range(20):
            with Client(f"http://127.0.0.1:{port}") as client:
                assert client.send(wire).classes
        assert wait_for(lambda: all(map(closed, deaf)))


@pytest.mark.skipif(os.name != "posix", reason="no such limit there")
def test_connections_stay_below_the_descriptors(system):
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for soft in (256, 1024):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
            config = _uvicorn(build_app(system), Settings()).config
            assert 32 <= config.limit_concurrency + 4 * config.backlog < soft  # accepting runs ahead by a few turns
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("stage", ["decode", "pass"])
def test_nothing_is_done_for_a_client_that_has_gone(system, wire, monkeypatch, stage):
    done, begun, gone = [], threading.Event(), threading.Event()
    work = {"decode": system.codec.decompress, "pass": system.decoder.forward}[stage]

    def slow(what):
        done.append(len(what))
        begun.set()
        assert gone.wait(60)
        return work(what)

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(*((system.codec, "decompress") if stage == "decode" else (system.decoder, "forward")), slow)
    request = POST.replace(b"1000", str(len(wire)).encode()) + wire
    with serving(system, settings=Settings(max_batch=2, batch_wait_ms=0)) as port:

        def ask(_):
            with Client(f"http://127.0.0.1:{port}") as client:
                return client.send(wire).classes

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, 0)
            assert begun.wait(20)
            with slow_senders(port, 12, request, b""):
                time.sleep(0.3)  # they are inside
            for _ in range(2):  # rounds of the server's loop, in which it hears that they have gone
                with Client(f"http://127.0.0.1:{port}") as client:
                    client.health()
            gone.set()
            assert pool.submit(ask, 1).result() == first.result()
    assert sum(done) == 2


# --- images

DECODER = """
import os, sys, time
from fsplit_lib.offload import images
crop = images.crop
def bad(data, *options):
    if data[-5:] == b"sleep":
        time.sleep(600)
    if data[-5:] == b"crash":
        os.abort()
    return crop(data, *options)
images.crop = bad
images.main()
"""


def decoders():
    """The processes that decode this process's images."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "images" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def test_an_image_that_holds_its_decoder_is_given_up(system, wire, monkeypatch):
    monkeypatch.setattr("fsplit_lib.offload.images.PROGRAM", ("-c", DECODER))
    good = coded(load_photo("coffee").resize((80, 60)), "PNG")
    before = decoders()

    def ours():
        return [one for one in decoders() if one not in before]

    with serving(system, settings=Settings(max_waiting=4, timeout_s=12)) as port:
        url = f"http://127.0.0.1:{port}"

        def ask(data, kind="image"):
            with Client(url, timeout_s=30) as client:
                try:
                    return client.send(data, kind).classes
                except OffloadError as error:
                    return str(error)

        assert len(ask(good)) == 5 and len(ours()) == 1
        with ThreadPoolExecutor(8) as pool:
            stuck = [pool.submit(ask, good + b"sleep") for _ in range(2)]
            wait_for(lambda: len(ours()) == 2)
            assert "503" in ask(good)  # half of the places are for packets
            for _ in range(20):
                assert len(ask(wire, "packet")) == 5
            assert not any(one.done() for one in stuck)  # all that while they were stuck
            assert {one.result() for one in stuck} == {
                f"{url} refused (400): the image took more than 3 s to decode: scale it down first"
            }
        assert len(ask(good)) == 5 and len(ours()) == 1
        assert "400" in (said := ask(good + b"crash")) and "brought its decoder down" in said
        assert len(ask(good)) == 5
        os.kill(ours()[0], signal.SIGSTOP)  # to an idle one; it is there, and does not answer
        assert ask(good).endswith("more than 3 s to decode: scale it down first")
        assert len(ask(good)) == 5
        for _ in range(5):
            os.kill(ours()[0], signal.SIGKILL)  # as a system short of memory does, to an idle one
            assert len(ask(good)) == 5  # at once: the server may not have heard of it yet
    wait_for(lambda: not ours())


def progressive(scans):
    """A JPEG whose last scan is repeated."""
    data = coded(Image.new("L", (2048, 2048), 99), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:end] + data[last:end] * scans + data[end:]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMBS = {
    "scans": lambda: progressive(10_000),
    "webp": lambda: bytes.fromhex("524946461a000000574542505650384c0d0000002f") + b"\xff\xff\xff\x0f" + bytes(9),
    "png": lambda: (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 16, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(9000 * 18001)))
        + chunk(b"IEND", b"")
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_of_a_huge_picture_is_refused_and_packets_go_on(system, wire, name):
    bomb = BOMBS[name]()
    assert len(bomb) < 2**20
    with serving(system) as port:

        def ask(_):
            with Client(f"http://127.0.0.1:{port}", timeout_s=60) as client, pytest.raises(OffloadError) as caught:
                client.send(bomb, "image")
            return caught.value.status

        with ThreadPoolExecutor(4) as pool, Client(f"http://127.0.0.1:{port}") as client:
            said = pool.map(ask, range(4))
            assert all(client.send(wire).classes for _ in range(20))
            assert set(said) == {400}


def test_a_fault_of_the_server_stays_with_those_it_concerns(system):
    wires = [system.codec.compress(pictures(1, side))[0].to_bytes() for side in (32, 64)]
    decoder = system.decoder.forward

    def broken(y):
        time.sleep(0.2)
        if y.shape[-1] == 16:
            raise RuntimeError("secret")
        return decoder(y)

    system.decoder.forward = broken
    try:
        with serving(system, settings=Settings(batch_wait_ms=200)) as port:

            def ask(data):
                with Client(f"http://127.0.0.1:{port}") as client:
                    try:
                        return client.send(data).batch
                    except OffloadError as error:
                        return str(error)

            with ThreadPoolExecutor(4) as pool:
                said = list(pool.map(ask, wires * 2))
    finally:
        system.decoder.forward = decoder
    assert all(isinstance(one, int) for one in said[::2])
    assert all("500" in one and "its log" in one and "secret" not in one for one in said[1::2])


def test_too_many_requests_are_turned_away(system, wire):
    decoder = system.decoder.forward
    system.decoder.forward = lambda y: (time.sleep(1), decoder(y))[1]
    try:
        with serving(system, settings=Settings(max_waiting=2)) as port:

            def ask(_):
                with Client(f"http://127.0.0.1:{port}") as client:
                    try:
                        return client.send(wire).classes != ()
                    except OffloadError as error:
                        return error.status

            with ThreadPoolExecutor(6) as pool:
                said = list(pool.map(ask, range(6)))
    finally:
        system.decoder.forward = decoder
    assert set(said) == {True, 503}


def test_a_server_that_says_nothing_or_nonsense_or_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with Client(url, timeout_s=0.5) as client, pytest.raises(OffloadError, match="did not answer within 0.5 s"):
            client.send(b"FS")
        assert time.monotonic() - begun < 5
    with Client(url) as client, pytest.raises(OffloadError, match="nothing listens.*fsplit serve"):
        client.send(b"FS")
    with sink(10) as port, Client(f"http://127.0.0.1:{port}") as client, pytest.raises(OffloadError):
        client.send(b"FS")
    strange = ("http://127.0.0.1:80000", "http://127.0.0.1:abc", "http://[::1", "http://a b", "http://a..b")
    for url in ("ftp://127.0.0.1", "127.0.0.1:8000", "http://", *strange, "http://127.0.0.1/\u65e5"):
        with pytest.raises(ParameterError, match="url must be"):
            Client(url)
    assert Client("http://[::1]")._connection.port == 80
    with pytest.raises(ParameterError, match="JPEG, PNG, WebP or AVIF"):
        Client("http://127.0.0.1").send(b"GIF89a", "image")


OK = "HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status line": ("HTTP/1.1 200 ", "O"),
    "continue": ("", "HTTP/1.1 100 Continue\r\n\r\n"),
    "header": (OK + "X: ", "x"),
    "chunk size": (OK + "Transfer-Encoding: chunked\r\n\r\n", "0"),
    "chunks": (OK + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
    "body": (OK + "Content-Length: 99999\r\n\r\n", " "),
}


@pytest.mark.parametrize("what", DRIPS)
def test_the_clients_time_is_up_whatever_the_server_does(what):
    begin, again = (text.encode() for text in DRIPS[what])
    with saying(begin, again) as port, Client(f"http://127.0.0.1:{port}", timeout_s=0.4) as client:
        for ask in (client.health, lambda: client.send(b"FS")):
            begun = time.monotonic()
            with pytest.raises(OffloadError, match=r"did not answer within 0.4 s"):
                ask()
            assert 0.4 <= time.monotonic() - begun < 10
        wait_for(lambda: not any(thread.name == "client" for thread in threading.enumerate()))


GOOD = {"classes": ["a"], "probs": [1.0], "decode_ms": 1, "queue_ms": 1, "tail_ms": 1, "server_ms": 3, "batch": 1}


@pytest.mark.parametrize(
    "body",
    [
        *(json.dumps(GOOD | {name: math.inf}) for name in ("decode_ms", "batch")),
        json.dumps(GOOD).replace("[1.0]", "[1e999]"),
        json.dumps(GOOD | {"probs": [math.nan]}),
        json.dumps(GOOD | {"probs": [10**400]}),
        json.dumps(GOOD | {"probs": [0.5, 0.5]}),
        json.dumps(GOOD | {"classes": []}),
        json.dumps(GOOD | {"classes": 5}),
        json.dumps([GOOD]),
        json.dumps(GOOD).replace("1.0", "9" * 5000),
        "[" * 100_000,
        json.dumps(GOOD).replace("1.0", "[" * 900 + "]" * 900),
        '{"error":' * 100_000,
        "null",
        "",
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad"])
def test_an_answer_that_is_none_is_the_clients_own_error(body, status):
    text = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with saying(text.encode()) as port, pytest.raises(OffloadError, match="answered"):
        Client(f"http://127.0.0.1:{port}").send(b"FS")


@pytest.mark.parametrize("length", [10**10, 2**63 - 1, 10**18, 10**30, "9" * 5000, -1])
@pytest.mark.parametrize("field", ["Content-Length: {}\r\n\r\n{{}}", "Transfer-Encoding: chunked\r\n\r\n{}\r\n{{}}"])
def test_an_announced_length_reserves_nothing(length, field):
    text = OK + field.format(length)
    with saying(text.encode()) as port, pytest.raises(OffloadError):
        Client(f"http://127.0.0.1:{port}", timeout_s=5).send(b"FS")


def test_nothing_a_server_says_reaches_the_terminal_as_a_command(tmp_path):
    escape = "\x1b]0;gotcha\x07\x1b[2J\u202e\n\ud800"
    (tmp_path / "a.fsp").write_bytes(b"FS")
    named = json.dumps(GOOD | {"classes": [f"daisy{escape}"]})
    refusal = json.dumps({"error": f"no{escape}" + "x" * 10_000})
    line = escape[:-2].encode()
    for start, body, code in (
        (OK.encode(), named, 0),
        (b"HTTP/1.1 400 Bad\r\n", refusal, 2),
        (b"HTTP/9.9" + line + b" 200 OK\r\n", "", 2),
        (line + b"\r\n", "", 2),
    ):
        answer = start + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        with saying(answer) as port:
            done = fsplit("send", tmp_path / "a.fsp", "--url", f"http://127.0.0.1:{port}")
        lines = (done.stdout or done.stderr).splitlines()
        assert done.returncode == code and len(lines) == (2 if code == 0 else 1), done
        assert "gotcha" in lines[-1] and len(lines[-1]) < 800 and all(map(str.isprintable, lines))


def test_a_time_that_is_none():
    for timeout_s in (0, -1, math.nan, math.inf):
        with pytest.raises(ParameterError, match="timeout_s must be above 0"):
            Client("http://127.0.0.1", timeout_s=timeout_s)


def test_no_proxy_of_the_environment_is_used(client, wire, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client.send(wire).classes


def test_a_connection_that_the_server_closed_is_made_again(system, wire):
    with Client("http://127.0.0.1:1") as client:
        for _ in range(2):
            with serving(system) as port:
                client._connection.port = port
                assert client.send(wire).classes and client.send(wire).classes


# --- real processes


def test_killed_mid_request_reported_in_time_and_a_retry_works(system, wire, tmp_path, monkeypatch):
    folder = tmp_path / "small"
    save_system(folder, system, zoo.Card("small", "codec", "", "", "", {}, {}))
    saved = load_system(folder)
    packets = saved.codec.compress(pictures(1))
    wire, wanted = packets[0].to_bytes(), expected(saved, packets)[0]
    with (
        ServerProcess(folder, token="geheim") as first,
        Client(first.url, "geheim", timeout_s=30) as client,
    ):
        assert agrees(client.send(wire, top=3), wanted)
        os.kill(first.process.pid, signal.SIGSTOP)  # it has the request and cannot answer
        with Client(first.url, "geheim", timeout_s=0.5) as hasty, pytest.raises(OffloadError, match="within 0.5 s"):
            hasty.send(wire)
        death = threading.Timer(0.3, first.kill)
        death.start()
        begun = time.monotonic()
        with pytest.raises(OffloadError, match="closed the connection|nothing listens"):
            client.send(wire)
        assert time.monotonic() - begun < 10
        death.join()
        with ServerProcess(folder, token="geheim", port=first.port) as second:
            assert agrees(client.send(wire, top=3), wanted)  # the same client, called again
            (tmp_path / "one.fsp").write_bytes(wire)
            monkeypatch.setenv("FSPLIT_TOKEN", "geheim")
            done = fsplit("send", tmp_path / "one.fsp", "--url", second.url, "--top", 3)
            assert done.returncode == 0 and f"{len(wire)} bytes sent" in done.stdout and wanted[0][0] in done.stdout
            refused(fsplit("send", tmp_path / "one.fsp", "--url", second.url, "--token", "falsch"), "401", "token")
    assert second.process.returncode == 0  # ended because its standard input did


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(OffloadError, match="did not start.*max-batch"), ServerProcess("photo", "--max-batch", "1"):
        pass


def test_serve_and_send_refuse_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("FSPLIT_TOKEN", raising=False)
    refused(fsplit("serve", "--host", "0.0.0.0", "--port", 0), "0.0.0.0", "token")
    refused(fsplit("send", tmp_path / "none.jpg"), "there is no file")
    load_photo("coffee").resize((64, 64)).save(tmp_path / "a.jpg")
    refused(fsplit("send", tmp_path / "a.jpg", "--as", "webp", "--lmbda", 1), "--lmbda")
    refused(fsplit("send", tmp_path / "a.jpg", "--as", "webp", "--url", "http://127.0.0.1:9"), "nothing listens")


@pytest.mark.parametrize("as_", ["packet", "jpeg", "png", "webp", "avif"])
def test_send_a_photo(system, tmp_path, as_, monkeypatch):
    load_photo("coffee").save(tmp_path / "coffee.jpg")
    monkeypatch.setattr("fsplit_lib.system.load_codec", lambda *_: system.codec)
    monkeypatch.setattr(system.backbone, "input_size", 224)  # as of the network that fsplit send crops for
    with serving(system) as port:
        done = fsplit("send", tmp_path / "coffee.jpg", "--url", f"http://127.0.0.1:{port}", "--as", as_, "--top", 2)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert "bytes sent, answered in" in first and "decode" in first and len(rest) == 2
