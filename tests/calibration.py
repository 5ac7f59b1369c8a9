"""How slow this machine is: limits of time are given for one machine and stretched by what a fixed piece of work costs here."""

import io
import json
import time
from functools import cache

import torch
from PIL import Image
from torch import nn

REFERENCE_S = (
    1.2  # seconds of processor that the work below took where the limits and README's lower minutes were measured
)


def work():
    """Do what chapters mostly do: train a small convolutional network, run it on a photo, write JSON and a picture."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 48, 3, 2, 1), nn.GELU(), nn.Conv2d(48, 64, 3, 2, 1), nn.GELU(), nn.Conv2d(64, 48, 3)
    )
    optimiser = torch.optim.Adam(net.parameters())
    for _ in range(20):
        optimiser.zero_grad()
        net(torch.rand(128, 3, 32, 32)).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        for _ in range(10):
            net(torch.rand(1, 3, 224, 224))
    json.loads(json.dumps([{"x": [i / 7 for i in range(100)]} for _ in range(1500)]))
    picture = Image.effect_noise((512, 512), 60)
    for _ in range(4):
        picture.save(io.BytesIO(), "WEBP", quality=80)


def unit():
    """Seconds of processor for the work, on one thread: the least of three, since a neighbour on the core only adds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    took = []
    for _ in range(4):  # the first warms up
        begun = time.process_time()
        work()
        took.append(time.process_time() - begun)
    torch.set_num_threads(threads)
    return min(took[1:])


@cache
def slowness():
    """How many times as long as on the machine of the limits the work takes here."""
    return unit() / REFERENCE_S
