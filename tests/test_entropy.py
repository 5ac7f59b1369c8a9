"""Entropy coding: round trips, the bound, damage, and the densities behind the tables."""

import contextlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.entropy.coding import Tables, decode_symbols, encode_symbols, ideal_bits
from fsplit_lib.entropy.hyperprior import Hyperprior, gaussian_likelihood
from fsplit_lib.entropy.models import FactorizedPrior
from fsplit_lib.errors import PacketError


def random_tables(rng, channels, width):
    shares = rng.dirichlet(np.full(width, 10.0 ** rng.uniform(-2, 1)), size=channels)
    counts = np.maximum(1, np.round(shares * 65536)).astype(np.int32)
    top = counts.argmax(axis=1)
    counts[np.arange(channels), top] += 65536 - counts.sum(axis=1)
    if (counts < 1).any():
        return random_tables(rng, channels, width)
    return Tables(counts, np.full(channels, width, np.int32), rng.integers(-20, 5, channels).astype(np.int32))


def draw(rng, tables, count):
    rows = [rng.choice(len(row), size=count, p=row / 65536) for row in tables.frequencies]
    return (np.stack(rows) + tables.offsets[:, None]).astype(np.int32)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**31), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=30))
def test_any_symbol_survives(seed, values):
    tables = random_tables(np.random.default_rng(seed), 2, 5)
    symbols = np.stack([values, values[::-1]]).astype(np.int32)
    assert np.array_equal(decode_symbols(encode_symbols(symbols, tables), tables, len(values)), symbols)


@pytest.mark.equation("03.5")
@pytest.mark.parametrize("seed", range(8))
def test_payload_is_within_4_bytes_and_a_thousandth_of_the_ideal(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        tables = random_tables(rng, int(rng.integers(1, 50)), int(rng.integers(2, 40)))
        symbols = draw(rng, tables, int(rng.integers(1, 800)))
        assert len(encode_symbols(symbols, tables)) <= ideal_bits(symbols, tables) / 8 * 1.001 + 4


@pytest.mark.equation("00.3", "03.1")
def test_ideal_bits_by_hand():
    tables = Tables(np.array([[32768, 16384, 16384]], "i4"), np.array([3], "i4"), np.array([-1], "i4"))
    assert ideal_bits(np.array([[-1, 0]], "i4"), tables) == 1 + 2
    assert ideal_bits(np.array([[5]], "i4"), tables) == 2 + 8  # the escape, and one varint byte
    assert ideal_bits(np.array([[500]], "i4"), tables) == 2 + 16


def test_damaged_streams_raise_one_error():
    rng = np.random.default_rng(3)
    tables = random_tables(rng, 6, 9)
    stream = encode_symbols(draw(rng, tables, 64), tables)
    for _ in range(3000):
        kind, at = rng.integers(4), int(rng.integers(len(stream)))
        data = bytearray(stream)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data += rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8).tobytes()
        else:
            data = bytearray(rng.integers(0, 256, int(rng.integers(0, 300)), dtype=np.uint8).tobytes())
        try:
            symbols = decode_symbols(bytes(data), tables, 64)
        except PacketError:
            continue
        assert encode_symbols(symbols, tables) == bytes(data)  # another latent's own stream, and nothing else


@pytest.mark.parametrize(
    ("frequencies", "lengths"),
    [([[65536, 0]], [2]), ([[65535]], [1]), ([[40000, 20000]], [2]), ([[70000, -4464]], [2])],
)
def test_tables_that_are_none_are_refused(frequencies, lengths):
    with pytest.raises(ValueError, match="2\\*\\*16"):
        Tables(np.array(frequencies, "i4"), np.array(lengths, "i4"), np.array([0], "i4"))


@pytest.mark.parametrize(("lengths", "offsets"), [([5, 2], [0, 0]), ([2], [0]), ([2, 2], [0])])
def test_tables_whose_parts_do_not_fit_each_other_are_refused(lengths, offsets):
    with pytest.raises(ValueError, match="each of the 2 rows"):
        Tables(np.full((2, 2), 32768, "i4"), np.array(lengths, "i4"), np.array(offsets, "i4"))


@pytest.mark.parametrize("value", [2**40, -(2**31) - 1, 0.5])
def test_symbols_that_would_come_back_as_others_are_refused(value):
    tables = random_tables(np.random.default_rng(0), 1, 4)
    with pytest.raises(ValueError, match="whole numbers of 32 bits"):
        encode_symbols(np.array([[value]]), tables)
    whole = encode_symbols(np.array([[2**31 - 1]]), tables)
    assert decode_symbols(whole, tables, 1) == 2**31 - 1


def test_shape_is_checked():
    tables = random_tables(np.random.default_rng(0), 3, 4)
    with pytest.raises(ValueError, match=r"\(3, N\)"):
        encode_symbols(np.zeros((2, 5), "i4"), tables)


@pytest.mark.parametrize(
    "module", ["fsplit_lib", "fsplit_lib.packet", "fsplit_lib.entropy.coding", "fsplit_lib.data.images"]
)
def test_the_phone_needs_no_torch(module):
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'compressai')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def fitted(centre, steps=300):
    """A one-channel prior fitted to noisy samples around ``centre``, and samples to code."""
    prior = FactorizedPrior(1)
    generator = torch.Generator().manual_seed(0)
    samples = centre + 1.5 * torch.randn(1, 1, 40, 40, generator=generator)
    optimiser = torch.optim.Adam(prior.parameters(), 2e-2)
    for _ in range(steps):
        noise = torch.rand(samples.shape, generator=generator) - 0.5
        loss = -prior.likelihood(samples + noise).log2().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return prior, samples


def payload(prior, samples):
    return len(encode_symbols(prior.to_symbols(samples)[0], prior.tables))


@pytest.mark.equation("03.3")
def test_likelihood_is_the_difference_of_the_cumulative():
    torch.manual_seed(0)
    prior = FactorizedPrior(3)
    y = 3 * torch.randn(2, 3, 2, 2)
    c = lambda v: torch.sigmoid(
        prior.density._logits_cumulative(v.transpose(0, 1).reshape(3, 1, -1), stop_gradient=True)
    )
    brute = (c(y + 0.5) - c(y - 0.5)).reshape(3, 2, 2, 2).transpose(0, 1)
    assert torch.allclose(prior.likelihood(y), brute.clamp_min(1e-9), atol=1e-6)


def test_a_place_where_both_logits_cancel_is_not_impossible():
    torch.manual_seed(0)
    prior = FactorizedPrior(1)
    with torch.no_grad():
        for bias in prior.density.biases:
            bias.zero_()  # now the density is even, and the logits at 1/2 and -1/2 add up to exactly 0
    middle, beside = prior.likelihood(torch.tensor([0.0, 1e-3]).view(1, 1, 2, 1)).flatten().tolist()
    assert middle == pytest.approx(beside, rel=1e-3) and middle > 1e-3


def test_a_gain_is_a_finer_quantiser_of_the_same_density():
    torch.manual_seed(0)
    prior = FactorizedPrior(2)
    coarse = prior.likelihood(torch.full((1, 2, 1, 1), 3.0))  # from 2.5 to 3.5 in steps of 1
    fine = torch.tensor([8.0, 9.0, 10.0]).view(1, 1, -1, 1).expand(1, 2, -1, 1)  # the same in steps of 1/3
    thirds = prior.likelihood(fine, torch.full((1, 2, 1, 1), 3.0))
    assert torch.allclose(thirds.sum(dim=2, keepdim=True), coarse, rtol=1e-4)


def test_probabilities_of_whole_numbers_add_up_to_one():
    torch.manual_seed(0)
    prior = FactorizedPrior(2)
    grid = torch.arange(-2000.0, 2001.0).view(1, 1, -1, 1).expand(1, 2, -1, 1)
    assert torch.allclose(prior.likelihood(grid).sum(dim=2), torch.ones(1, 2, 1), atol=1e-3)


def test_the_quantile_trap():
    """Data centred at 20: bisection finds it, quantiles left where they were born cost dearly."""
    prior, samples = fitted(20.0)
    with torch.no_grad():
        estimate = float(-prior.likelihood(prior.quantise(samples)).log2().sum()) / 8
    prior.update(update_quantiles=False)
    trapped = payload(prior, samples)
    prior.update()
    good = payload(prior, samples)
    assert prior.medians.item() == pytest.approx(20, abs=1)
    assert good == pytest.approx(estimate, rel=0.03)
    assert trapped > 1.5 * good


def test_the_grid_can_stay_where_training_had_it():
    prior, _ = fitted(0.4)
    prior.update(keep_grid=True)
    assert prior.medians.item() == 0
    y = torch.tensor([[[[0.4, 0.6, -0.7]]]])
    assert torch.equal(prior.quantise(y), torch.tensor([[[[0.0, 1.0, -1.0]]]]))
    prior.update()
    assert (moved := prior.medians.item()) % 1 != 0
    prior.update(keep_grid=True)  # trained on from there, it stays there
    assert prior.medians.item() == moved


def test_several_rates_need_a_grid_around_zero_and_a_latent_that_is_a_number():
    codec = FeatureCodec(CodecConfig(widths=(4, 4, 2), strides=(2, 2, 1), anchors=(0.1, 1.0)))
    codec.update()
    y = torch.zeros(1, 2, 3, 3)
    for damage in (math.nan, math.inf):
        y[0, 1, 2, 0] = damage
        with pytest.raises(ValueError, match="NaN or infinity: the picture or the encoder's weights are damaged"):
            codec.pack(y)
    codec.prior.density.quantiles[:, :, 1] = 0.3
    with pytest.raises(ValueError, match="rounds around 0"):
        codec.update()


def test_tables_cost_what_the_density_says():
    prior, samples = fitted(0.0)
    prior.update(keep_grid=True)
    with torch.no_grad():
        model = float(-prior.likelihood(prior.quantise(samples)).log2().sum())
    assert ideal_bits(prior.to_symbols(samples)[0], prior.tables) == pytest.approx(model, rel=2e-3)


def test_symbols_and_latents_are_inverse():
    prior, samples = fitted(3.3, steps=20)
    prior.update()
    back = prior.from_symbols(prior.to_symbols(samples), 40, 40)
    assert torch.equal(back, prior.quantise(samples))
    assert (back - samples).abs().max() <= 0.5 + 1e-5


def test_tables_travel_in_the_state_dict():
    prior, samples = fitted(5.0, steps=50)
    prior.update()
    state = prior.state_dict()
    assert not any("quantized_cdf" in name for name in state)
    twin = FactorizedPrior(1)
    twin.load_state_dict(state)
    assert twin.tables.to_bytes() == prior.tables.to_bytes()
    assert payload(twin, samples) == payload(prior, samples)


def test_misuse_is_told():
    prior = FactorizedPrior(2)
    with pytest.raises(RuntimeError, match="update"):
        prior.tables  # noqa: B018
    with torch.no_grad():
        prior.density.biases[0].fill_(float("nan"))
    with pytest.raises(ValueError, match="diverged"):
        prior.update()


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**31), st.lists(st.integers(-300, 300), min_size=1, max_size=60))
def test_symbols_with_chosen_tables_survive(seed, values):
    rng = np.random.default_rng(seed)
    tables, symbols = random_tables(rng, 7, 6), np.array(values, dtype=np.int32)
    index = rng.integers(0, 7, len(symbols))
    stream = encode_symbols(symbols, tables, index)
    assert np.array_equal(decode_symbols(stream, tables, index=index), symbols)


def test_an_index_that_names_no_table_is_refused():
    tables, symbols = random_tables(np.random.default_rng(0), 2, 4), np.array([0, 1], "i4")
    for index in (np.array([0, 5]), np.array([-1, 0])):
        with pytest.raises(ValueError, match="tables 0 to 1, got"):
            encode_symbols(symbols, tables, index)
        with pytest.raises(ValueError, match="tables 0 to 1, got"):
            decode_symbols(b"", tables, index=index)


def test_nothing_is_coded_as_nothing():
    tables, nothing = random_tables(np.random.default_rng(0), 2, 4), np.array([], "i4")
    assert encode_symbols(nothing, tables, nothing) == b""
    assert decode_symbols(b"", tables, index=nothing).size == 0


def test_a_wrong_choice_of_tables_is_noticed():
    rng = np.random.default_rng(0)
    tables, index = random_tables(rng, 7, 9), rng.integers(0, 7, 500)
    symbols = np.array([draw(rng, tables, 1)[i, 0] for i in index], dtype=np.int32)
    stream = encode_symbols(symbols, tables, index)
    shifted = (index + 1) % 7
    with contextlib.suppress(PacketError):
        assert not np.array_equal(decode_symbols(stream, tables, index=shifted), symbols)
    with pytest.raises(PacketError):
        decode_symbols(stream[:-9], tables, index=index)


@pytest.mark.equation("03.6")
@pytest.mark.parametrize(("scale", "mean"), [(0.11, 0.0), (0.5, 0.3), (4.0, -1.7)])
def test_gaussian_likelihood_against_the_error_function(scale, mean):
    phi = lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2)))
    symbols = torch.arange(-3.0, 4.0)
    by_hand = [phi((v + 0.5 - mean) / scale) - phi((v - 0.5 - mean) / scale) for v in symbols.tolist()]
    full = [torch.full_like(symbols, value) for value in (scale, mean)]
    assert torch.allclose(gaussian_likelihood(symbols, *full), torch.tensor(by_hand).clamp_min(1e-9), atol=1e-6)


@pytest.mark.parametrize("means", [False, True])
def test_side_information_brings_back_the_very_symbols(means):
    torch.manual_seed(1)
    model = Hyperprior(6, 4, means)
    y = (torch.randn(2, 6, 12, 7) * torch.linspace(0.1, 9, 6).view(1, 6, 1, 1) + 3).round()
    model.start_from(y)
    with torch.no_grad():
        for parameter in model.h_s.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.update()
    for one in y.split(1):
        streams = model.compress(one)
        assert torch.equal(model.decompress(streams, 12, 7), one)
    with pytest.raises(PacketError):
        model.decompress(type(streams)(streams.z, streams.y[:-6]), 12, 7)


def test_side_information_costs_what_its_likelihoods_say():
    torch.manual_seed(2)
    model = Hyperprior(6, 4, means=True)
    y = (2 * torch.randn(1, 6, 28, 28)).round()
    model.start_from(y)
    model.update()
    with torch.no_grad():
        z_symbols = model.prior.to_symbols(model.h_a(y - model.mean))
        z = model.prior.from_symbols(z_symbols, 7, 7)
        bits = -gaussian_likelihood(y - model.mean, *model.parameters_of_y(z, 28, 28)).log2().sum().item()
    assert 8 * len(model.compress(y).y) == pytest.approx(bits, rel=0.02, abs=40)
