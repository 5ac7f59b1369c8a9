"""The causal context: bytes and back, its price by brute force, damage, other sizes, and a codec that carries one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsplit_lib import zoo
from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.data import center_crop, image_folder
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.entropy.coding import Tables, encode_symbols, ideal_bits
from fsplit_lib.entropy.context import ACTIVITIES, ACTIVITY, AROUND, SUMS, WIDEST, Context, neighbourhoods, places_of
from fsplit_lib.entropy.packer import Packer
from fsplit_lib.errors import PacketError
from fsplit_lib.packet import Packet
from fsplit_lib.training.context import count_symbols, fit_context, learn_context, measure_context

GROUPS = np.array([0, 0, 1], np.uint8)


def flat_tables(channels: int, span: int = 3) -> Tables:
    entries = 2 * span + 2
    row = np.full(entries, 2**16 // entries, np.int32)
    row[0] += 2**16 - row.sum()
    return Tables(np.tile(row, (channels, 1)), np.full(channels, entries, np.int32), np.full(channels, -span, np.int32))


def correlated(rng: np.random.Generator, batch: int, channels: int, height: int, width: int) -> np.ndarray:
    """Latents whose neighbours are alike in every channel but the last, which is silent."""
    rough = rng.normal(size=(batch, channels, height + 2, width + 2))
    smooth = sum(rough[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 2
    smooth[:, -1] = 0
    return np.rint(smooth).astype(np.int32)


@pytest.fixture(scope="module")
def context() -> Context:
    rng = np.random.default_rng(0)
    counts = [count_symbols(correlated(rng, 40, 4, 12, 12) // by) for by in (1, 2)]
    return fit_context(np.stack(counts), GROUPS, count=12)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 6), (5, 1), (4, 4), (7, 9), (28, 28)])
def test_every_place_is_coded_in_one_pass_and_looks_at_earlier_ones_only(height, width):
    places = places_of(height, width)
    assert sorted(np.concatenate(places).tolist()) == list(range(height * width))
    number = np.empty(height * width, int)
    for at, which in enumerate(places):
        number[which] = at
    grid = np.pad(number.reshape(height, width), 1, constant_values=-1)
    for at, around in AROUND.items():
        for place in places[at]:
            row, column = divmod(int(place), width)
            assert all(grid[row + 1 + i, column + 1 + j] < at for i, j in around)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2), st.integers(0, 2**32 - 1), st.booleans())
def test_bytes_and_back(context, height, width, level, seed, wild):
    rng = np.random.default_rng(seed)
    symbols = correlated(rng, 1, 4, height, width)[0]
    if wild:  # beyond every table: nothing is clipped
        symbols[rng.random(symbols.shape) < 0.2] = rng.integers(-(2**31), 2**31)
    stream = context.encode(symbols, flat_tables(4), level)
    assert np.array_equal(context.decode(stream, flat_tables(4), level, height, width), symbols)
    ideal = context.symbol_bits(symbols, flat_tables(4), level).sum() / 8
    assert -1 <= len(stream) - ideal <= 5 + 0.01 * ideal


def test_the_price_by_brute_force(context):
    symbols, first = correlated(np.random.default_rng(1), 1, 4, 6, 7)[0], flat_tables(4)
    bits = context.symbol_bits(symbols, first, 2)
    for channel in range(4):
        for row in range(6):
            for column in range(7):
                number = (row % 2 + column % 2) and (1 if row % 2 and column % 2 else 2)
                table, tables = channel, first
                if number and channel in context.channels:
                    near = [
                        int(symbols[channel, row + i, column + j])
                        for i, j in AROUND[number]
                        if 0 <= row + i < 6 and 0 <= column + j < 7
                    ]
                    total = min(max(sum(near), -WIDEST), WIDEST) + WIDEST
                    seen = total * ACTIVITIES + int(ACTIVITY[min(sum(map(abs, near)), 63)])
                    where = context.channels.tolist().index(channel)
                    table, tables = int(context.choices[GROUPS[2], number - 1, where, seen]), context.tables
                p = tables.probabilities(table, symbols[channel, row, column : column + 1])[0]
                assert bits[channel, row, column] == pytest.approx(-np.log2(p))


def test_it_saves_where_neighbours_are_alike_and_leaves_silent_channels_alone(context):
    rng = np.random.default_rng(2)
    assert context.channels.tolist() == [0, 1, 2]
    symbols = correlated(rng, 30, 4, 12, 12)
    counts = [np.bincount((symbols[:, c].ravel() + 3).clip(0, 6), minlength=7) + 1 for c in range(4)]
    rows = np.array([[*(c * 65000 // c.sum() + 1), 0] for c in counts], np.int32)
    rows[:, -1] = 2**16 - rows.sum(1)
    own = Tables(rows, np.full(4, 8, np.int32), np.full(4, -3, np.int32))
    plain = sum(len(encode_symbols(one.reshape(4, -1), own)) for one in symbols)
    assert sum(len(context.encode(one, own, 0)) for one in symbols) < 0.9 * plain
    alone = correlated(rng, 1, 4, 12, 12)[0]
    shuffled = rng.permuted(alone.reshape(4, -1), axis=1).reshape(alone.shape)  # the same symbols at other places
    assert ideal_bits(shuffled.reshape(4, -1), own) == pytest.approx(ideal_bits(alone.reshape(4, -1), own))
    assert context.symbol_bits(shuffled, own, 0).sum() > 1.1 * context.symbol_bits(alone, own, 0).sum()


def test_a_damaged_stream_is_refused_or_another_latents_own(context):
    symbols, first = correlated(np.random.default_rng(3), 1, 4, 9, 9)[0], flat_tables(4)
    stream, refused = context.encode(symbols, first, 0), 0
    damaged = [bytearray(stream) for _ in range(8 * len(stream))]
    for at, data in enumerate(damaged):
        data[at // 8] ^= 1 << at % 8
    for data, level in [*((bytes(one), 0) for one in damaged), (stream[:-1], 0), (stream, 2), (b"", 0)]:
        try:
            read = context.decode(data, first, level, 9, 9)
        except PacketError:
            refused += 1
        else:
            assert context.encode(read, first, level) == data and not np.array_equal(read, symbols)
    assert refused > 0


def test_neighbours_far_off_count_as_the_largest():
    symbols = np.zeros((1, 3, 3), np.int32)
    symbols[0, 0, 0] = symbols[0, 2, 2] = 2**31 - 1
    assert neighbourhoods(symbols, 1).tolist() == [[(SUMS - 1) * ACTIVITIES + ACTIVITIES - 1]]


def test_contradictions_are_refused(context):
    arrays = context.to_arrays()
    assert Context.from_arrays(arrays).encode(np.zeros((4, 2, 2), np.int32), flat_tables(4), 0) is not None
    wrong = {
        "choices": [arrays["choices"][:, :1], arrays["choices"] + np.uint8(100)],
        "channels": [arrays["channels"][::-1], arrays["channels"][:2]],
        "groups": [np.array([0, 3], np.uint8)],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match="choices|names a table"):
                Context.from_arrays(arrays | {name: value})


@pytest.fixture(scope="module")
def codec() -> FeatureCodec:
    torch.manual_seed(0)
    codec = FeatureCodec(CodecConfig(widths=(8, 8, 6), lmbda=0.5, anchors=(0.3, 1.0)))
    with torch.no_grad():
        codec.gains.log_gain += 1
    codec.update()
    return codec.eval()


def test_a_codec_with_a_context(codec):
    torch.manual_seed(1)
    y = codec.encoder(torch.rand(4, 3, 64, 64)).detach()
    before, packets = codec.codec_id, codec.pack(y)
    other = FeatureCodec(codec.config)
    other.load_state_dict(codec.state_dict())
    other.add_context(learn_context(codec, y))
    assert other.config.context and other.codec_id != before and codec.codec_id == before
    for lmbda in (0.3, 0.5, 1.0):
        for one, packet in zip(y, other.pack(y, lmbda), strict=True):
            again = Packet.from_bytes(packet.to_bytes())
            assert torch.equal(other.decompress([again])[0], codec.decompress([codec.pack(one[None], lmbda)[0]])[0])
            assert abs(packet.payload_bytes - other.bits_map(one[None], lmbda).sum() / 8) < 5
    with pytest.raises(PacketError, match="both ends must load the same checkpoint"):
        other.decompress(packets)

    loaded = FeatureCodec(other.config)  # as from a file
    zoo.load_strictly(loaded, other.state_dict(), "codec.safetensors")
    assert loaded.codec_id == other.codec_id and loaded.pack(y)[0] == other.pack(y)[0]
    bundled = Packer.from_arrays(other.packer.to_arrays())  # as on a phone
    assert bundled.pack(y[0].numpy(), 1.0) == other.pack(y[:1], 1.0)[0]
    assert np.array_equal(
        bundled.unpack(other.pack(y[:1], 1.0)[0]), other.decompress(other.pack(y[:1], 1.0))[0].numpy()
    )


def test_a_context_of_other_rate_weights_is_refused(codec):
    context = learn_context(codec, codec.encoder(torch.rand(2, 3, 64, 64)).detach())
    arrays = context.to_arrays() | {"groups": np.zeros(3, np.uint8), "choices": context.choices[:1]}
    other = FeatureCodec(codec.config)
    other.load_state_dict(codec.state_dict())
    other.add_context(Context.from_arrays(arrays))
    with pytest.raises(ValueError, match="3 rate weights does not fit"):
        other.pack(codec.encoder(torch.rand(1, 3, 64, 64)).detach())


def test_what_a_context_saves_is_measured_on_real_streams(codec, tmp_path, monkeypatch):
    monkeypatch.setattr("fsplit_lib.training.context.CROPS", 32)
    for number in range(3):
        picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (240, 250, 3), dtype=np.uint8))
        picture.resize((24, 24)).resize((250, 240)).save(tmp_path / f"{number}.png")
    photos = image_folder(tmp_path, "squares")
    rows = measure_context("tiny", codec, photos, photos, (0.3, 1.0), runs=2)
    assert [(row.codec, row.lmbda, row.n, row.saved_low) for row in rows] == [("tiny", v, 3, None) for v in (0.3, 1.0)]
    for row in rows:
        sizes = [codec.compress(photo_tensor(center_crop(photos[i])), row.lmbda)[0].payload_bytes for i in range(3)]
        assert row.plain_bytes == pytest.approx(np.mean(sizes))
        assert row.saved_percent == pytest.approx(100 * (1 - row.context_bytes / row.plain_bytes))
        assert row.plain_ms > 0 and row.context_ms > 0
