"""`make proof`: what takes too long or needs too much for `make test`. Two minutes; run it on an idle machine.

Half a minute of 64 clients against a server process with the shipped codec, 1,100 slow connections against one with
1,024 descriptors, a megabyte over every preset, and
Linux's own traffic control beside our link: in network namespaces that see nothing else, which needs root.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from offload_rig import ServerProcess, crowd, measured_ms, slow_senders

from fsplit_lib.data import PHOTOS, center_crop, load_photo, to_array
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.offload import LINKS, Client, Link
from fsplit_lib.system import load_codec, load_system

MB = 1_000_000


def test_64_clients_for_30_seconds():
    system = load_system("photo")
    x = torch.stack([torch.from_numpy(to_array(center_crop(load_photo(name), 224))) for name in sorted(PHOTOS)])
    names, wires, answers = system.backbone.class_names, [], []
    for lmbda in system.codec.lmbdas[:: max(1, len(system.codec.lmbdas) * len(x) // 64)]:
        packets = system.codec.compress(x, lmbda)
        shares, indices = system.answer(packets).softmax(1).topk(3)
        wires += [packet.to_bytes() for packet in packets]
        answers += [(tuple(names[i] for i in row), s) for row, s in zip(indices.tolist(), shares.tolist(), strict=True)]
    assert len(set(wires[:64])) == 64
    with ServerProcess("photo") as server:
        count, largest = crowd(server.url, wires[:64], answers[:64], seconds=30)
    print(f"\n64 clients, 30 s: {count} answers, all right; up to {largest} photos in one pass")
    assert largest > 1


@pytest.mark.skipif(os.name != "posix", reason="no limit of descriptors there")
def test_1100_connections_that_never_end_their_header_keep_no_good_one_out():
    import resource

    wire = load_codec("photo").compress(photo_tensor(center_crop(load_photo("coffee"), 224)))[0].to_bytes()

    def ask(_):
        with Client(server.url, timeout_s=60) as client:
            return client.send(wire).total_ms

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, before[1]))
    try:
        with (
            ServerProcess("photo", descriptors=1024) as server,
            slow_senders(server.port, 1100, b"POST /answer HTTP/1.1\r\nX: ", b"x", pause=5),
            ThreadPoolExecutor(8) as pool,
        ):
            times = sorted(pool.map(ask, range(192)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    print(f"\n1,100 slow headers, 1,024 descriptors: 192 good requests answered, median {times[96]:.0f} ms")


@pytest.mark.parametrize("name", [name for name in LINKS if name != "loopback"])
def test_a_megabyte_over_every_preset(name):
    said = LINKS[name].transfer_ms(MB, 1)
    took = measured_ms(LINKS[name], MB, 1, enough=lambda ms: abs(ms / said - 1) < 0.05)
    print(f"\n{name}: {took:.0f} ms, {said:.0f} ms said")
    assert took == pytest.approx(said, rel=0.05)


SINK = """
import socket
with socket.create_server(("10.199.0.1", 5001)) as listener:
    print("ready", flush=True)
    connection = listener.accept()[0]
    for _ in range(4):
        left = 1000000
        while left:
            left -= len(connection.recv(min(left, 65536)))
        connection.sendall(b"x")
"""
SOURCE = """
import socket, time
with socket.create_connection(("10.199.0.1", 5001), timeout=60) as connection:
    for _ in range(4):
        begun = time.monotonic()
        connection.sendall(bytes(1000000))
        connection.recv(1)
        print(1e3 * (time.monotonic() - begun), flush=True)
"""


def transfers_under_tc(qdisc):
    """Milliseconds of four megabytes, one after the other, between two namespaces with a qdisc at the sender."""
    here, there = (f"fsplit-{os.getpid()}-{end}" for end in "ab")
    ends = {here: f"fs{os.getpid()}a", there: f"fs{os.getpid()}b"}

    def run(*words):
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        if done.returncode:
            pytest.skip(f"{' '.join(words)}: {done.stderr.strip()}")

    try:
        for name in ends:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "name", ends[here], "type", "veth", "peer", "name", ends[there])
        for number, (name, device) in enumerate(ends.items(), start=1):
            run("ip", "link", "set", device, "netns", name)
            run("ip", "-n", name, "addr", "add", f"10.199.0.{number}/24", "dev", device)
            run("ip", "-n", name, "link", "set", device, "up")
        run("tc", "-n", there, "qdisc", "add", "dev", ends[there], "root", *qdisc.split())
        pipe = {"stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(["ip", "netns", "exec", here, sys.executable, "-c", SINK], **pipe) as sink:
            try:
                assert sink.stdout.readline() == "ready\n"
                source = ["ip", "netns", "exec", there, sys.executable, "-c", SOURCE]
                return [float(ms) for ms in subprocess.run(source, timeout=120, check=True, **pipe).stdout.split()]
            finally:
                sink.kill()
    finally:
        for name in ends:
            with contextlib.suppress(subprocess.SubprocessError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.skipif(not (shutil.which("ip") and shutil.which("tc")), reason="needs ip and tc: the iproute2 package")
@pytest.mark.parametrize(
    ("link", "qdisc"),
    [
        (Link("rate", 6.0, 6.0, 0.0), "tbf rate {wire}bit burst 5kb latency 400ms"),
        (Link("rate and delay", 6.0, 6.0, 35.0), "netem rate {wire}bit delay 35ms limit 10000"),
    ],
    ids=["tbf", "netem"],
)
def test_against_linux_traffic_control(link, qdisc):
    wire = round(link.uplink_mbit_s * 1e6 * 1514 / 1448)  # tc counts Ethernet frames, a link of ours what TCP carries
    theirs = transfers_under_tc(qdisc.format(wire=wire))
    said = link.transfer_ms(MB, 1) - link.delay_ms  # their answers come back without delay
    ours = measured_ms(link, MB, 1) - link.delay_ms
    print(f"\n{link.name}: tc {[round(ms) for ms in theirs]} ms, ours {ours:.0f} ms, {said:.0f} ms said")
    assert min(theirs[1:]) == pytest.approx(said, rel=0.05)  # the first one also pays for TCP's slow start
    assert ours == pytest.approx(said, rel=0.05)
