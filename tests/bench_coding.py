"""`make bench`: our entropy coding against CompressAI's, same symbols, same densities, one run.

Both code a 48 x 28 x 28 latent to bytes and back. Run on an idle machine; the last test compares.
"""

import statistics
import time

import numpy as np
import pytest
import torch

from fsplit_lib.entropy.coding import decode_symbols, encode_symbols
from fsplit_lib.entropy.models import FactorizedPrior

CHANNELS, SIDE = 48, 28


@pytest.fixture(scope="module")
def trained():
    """A prior fitted to Laplacian latents whose spread differs by channel, and one such latent."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-1.5, 1, CHANNELS).view(-1, 1, 1)
    uniform = torch.rand(64, CHANNELS, 8, 8, generator=generator) - 0.5
    samples = -spread * uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-6).log()
    prior = FactorizedPrior(CHANNELS)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    for step in range(200):
        noise = torch.rand(samples.shape, generator=torch.Generator().manual_seed(step)) - 0.5
        loss = -prior.likelihood(samples + noise).log2().sum(dim=(1, 2, 3)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    prior.update()
    prior.density.update(force=True)  # CompressAI's own tables, from the same quantiles
    uniform = torch.rand(1, CHANNELS, SIDE, SIDE, generator=generator) - 0.5
    return prior, -spread * uniform.sign() * (1 - 2 * uniform.abs()).clamp_min(1e-6).log()


def ours(symbols, tables):
    return decode_symbols(encode_symbols(symbols, tables), tables, SIDE * SIDE)


def theirs(density, latent):
    return density.decompress(density.compress(latent), (SIDE, SIDE))


def test_ours(benchmark, trained):
    prior, latent = trained
    symbols = prior.to_symbols(latent)[0]
    assert np.array_equal(benchmark(ours, symbols, prior.tables), symbols)


def test_compressai(benchmark, trained):
    prior, latent = trained
    with torch.no_grad():
        back = benchmark(theirs, prior.density, latent)
    assert torch.allclose(back, prior.quantise(latent))


def test_ratio(trained):
    """At most 2 ms both ways and at least 3 times faster, medians of interleaved runs."""
    prior, latent = trained
    symbols, tables = prior.to_symbols(latent)[0], prior.tables
    mine, other = [], []
    with torch.no_grad():
        for _ in range(100):
            begun = time.perf_counter()
            ours(symbols, tables)
            middle = time.perf_counter()
            theirs(prior.density, latent)
            mine.append(middle - begun)
            other.append(time.perf_counter() - middle)
    ms, ratio = 1e3 * statistics.median(mine), statistics.median(other) / statistics.median(mine)
    payload = len(encode_symbols(symbols, tables))
    print(f"\n{payload} bytes; ours {ms:.2f} ms both ways, CompressAI {ms * ratio:.2f} ms, ratio {ratio:.1f}")
    assert ms <= 2
    assert ratio >= 3
