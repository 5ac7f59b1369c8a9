"""A codec with side information: two streams, trained with their encoder, for features and for pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from compressai.models import FactorizedPrior as ImageCodec
from torch import nn

from fsplit_lib import zoo
from fsplit_lib.backbones import FeatureSpec, PixelBackbone
from fsplit_lib.codec import CodecConfig, Encoder, FeatureCodec, build_codec
from fsplit_lib.codec.side_information import SideInformationCodec
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.evaluation.evaluate import LATENT_ALONE, evaluate_photos
from fsplit_lib.packet import Packet
from fsplit_lib.recipes.prior_work import IMAGES, PIXELS
from fsplit_lib.system import build_system, load_system, save_system
from fsplit_lib.training import TrainConfig
from fsplit_lib.training.loop import train_system

CONFIG = CodecConfig(widths=(8, 8, 6), anchors=(0.1, 1.0), side_information=4)
SHORT = TrainConfig(steps=3, batch=2, quantiser="straight_through", optimiser="muon", learning_rate=1e-3)
SMALL = DecoderConfig(1, 0, 8, "dense")


def lively(config=CONFIG, seed=0):
    """An untrained codec whose symbols, scales and means differ from place to place."""
    torch.manual_seed(seed)
    codec = SideInformationCodec(config)
    with torch.no_grad():
        for network, times in ((codec.encoder, 1.8), (codec.prior.h_a, 2.0), (codec.prior.h_s, 2.0)):
            for parameter in network.parameters():
                parameter.mul_(times)
        codec.prior.h_s[-1].bias[:6] = 2.0  # wide enough for these symbols
    codec.update()
    return codec.eval()


@pytest.mark.parametrize("size", [(64, 64), (72, 40), (8, 8)])
@pytest.mark.parametrize("lmbda", [0.1, 0.5, 1.0])
def test_packets_bring_back_the_latent_that_the_decoder_was_trained_for(size, lmbda):
    codec, x = lively(), torch.rand(2, 3, *size)
    packets = [Packet.from_bytes(packet.to_bytes()) for packet in codec.compress(x, lmbda)]
    with torch.no_grad():
        wanted, p = codec.quantise(codec.encoder(x), "noise", None, torch.tensor([packets[0].lmbda]))
    assert torch.equal(codec.decompress(packets), wanted)
    assert wanted.std() > 0.1
    for packet, bits in zip(packets, -p.log2().sum(dim=(1, 2, 3)), strict=True):
        streams = sum(map(len, packet.streams))
        assert len(packet.streams) == 2 and streams == pytest.approx(float(bits) / 8, rel=0.06, abs=14)


def test_likelihoods_are_of_all_that_is_sent_and_noise_of_each_latent_is_its_own():
    codec, y = lively(), 2 * torch.randn(2, 6, 9, 5)
    noise = torch.rand(2, 10, 9, 5) - 0.5
    assert codec.noise_channels == 10
    lmbda = torch.tensor([0.1, 1.0])
    y_hat, p = codec.quantise(y, "noise", noise, lmbda)
    assert p.shape == (2, 6 * 9 * 5 + 4 * 3 * 2, 1, 1) and bool(((p > 0) & (p <= 1)).all())
    gain, inverse = codec.gains(lmbda)
    torch.testing.assert_close(y_hat, (y * gain + noise[:, :6]) * inverse)
    straight, _ = codec.quantise(y, "straight_through", noise, lmbda)
    torch.testing.assert_close(straight, (y * gain).round() * inverse)
    other = noise.clone()
    other[:, 6:, ::4, ::4] += 0.1  # z's own
    shown, changed = codec.quantise(y, "noise", other, lmbda)
    assert torch.equal(shown, y_hat) and not torch.equal(changed[:, -24:], p[:, -24:])
    with pytest.raises(ValueError, match="without a quantiser"):
        codec.quantise(y, "none", noise, lmbda)


def test_side_information_pays_where_the_width_changes_from_place_to_place():
    torch.manual_seed(3)
    codec = SideInformationCodec(replace(CONFIG, anchors=(), lmbda=1.0))
    width = torch.tensor([0.1, 6.0]).repeat_interleave(8).view(1, 1, 16, 1)  # still above, lively below

    def drawn():
        return torch.randn(8, 6, 16, 16) * width

    optimiser = torch.optim.Adam(codec.prior.parameters(), 1e-2)
    for _ in range(120):
        y = drawn()
        noise = torch.rand(8, codec.noise_channels, 16, 16) - 0.5
        loss = -codec.quantise(y, "noise", noise)[1].log2().sum() / len(y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    codec.update()
    y = drawn()
    sent = np.mean([len(packet.to_bytes()) for packet in codec.pack(y)])
    symbols = y.round().transpose(0, 1).flatten().int()
    share = torch.bincount(symbols - symbols.min()).double() / len(symbols)
    alike = -float(torch.xlogy(share, share).sum()) / np.log(2) * y[0].numel() / 8  # one table for every place
    assert sent < 0.95 * alike


def test_what_cannot_be_read_is_refused():
    codec, other, x = lively(), lively(seed=1), torch.rand(1, 3, 64, 64)
    (packet,) = codec.compress(x, 0.3)
    assert codec.codec_id != other.codec_id
    with pytest.raises(PacketError, match=codec.codec_id.hex()):
        other.decompress([packet])
    with pytest.raises(PacketError):
        codec.decompress([replace(packet, streams=packet.streams[:1])])
    with pytest.raises(PacketError):
        codec.decompress([replace(packet, streams=(packet.streams[0], packet.streams[1][:-6]))])
    with pytest.raises(PacketError, match="one picture size"):
        codec.decompress([packet, *codec.compress(torch.rand(1, 3, 64, 72), 0.3)])
    with pytest.raises(PacketError):
        codec.decompress([replace(packet, lmbda_code=codec.codes[-1] + 1)])
    with pytest.raises(ParameterError, match=r"0\.1 to 1"):
        codec.compress(x, 3.0)
    for asked in (lambda: codec.packer, lambda: codec.symbols(torch.zeros(1, 6, 8, 8)), lambda: codec.tables(0.3)):
        with pytest.raises(ParameterError):
            asked()
    with pytest.raises(ValueError, match="side_information"):
        replace(CONFIG, context=True)
    assert type(build_codec(CONFIG)) is SideInformationCodec
    assert type(build_codec(replace(CONFIG, side_information=0))) is FeatureCodec


def test_all_of_it_learns_and_survives_a_file_a_kill_and_the_evaluation(teacher, source, tmp_path):
    def built():
        return build_system(teacher, CONFIG, SMALL, 0)

    system = built()
    before = {name: value.clone() for name, value in system.codec.state_dict().items()}
    whole = train_system(system, source, SHORT)
    after = system.codec.state_dict()
    for part in ("encoder", "gains", "prior.h_a", "prior.h_s", "prior.prior.density"):
        changed = [not torch.equal(before[n], after[n]) for n in before if n.startswith(part) and "quantiles" not in n]
        assert any(changed), part
    killed = built()

    def kill(row):
        if row.step == 1:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "run.ckpt", "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train_system(killed, source, SHORT, progress=kill, **options)
    resumed = built()
    log = train_system(resumed, source, SHORT, **options)
    assert [row.values for row in log] == [row.values for row in whole]
    assert resumed.codec.codec_id == system.codec.codec_id
    save_system(tmp_path / "side", system.eval(), zoo.Card("side", "codec", "", "", "", {}, {}))
    again, once_more = (load_system(tmp_path / "side", teacher) for _ in range(2))
    (packet,) = again.codec.compress(torch.rand(1, 3, 224, 224), 0.3)
    assert torch.equal(again.answer([packet]), once_more.answer([packet]))
    with pytest.raises(PacketError):  # a file holds 16 bits of every weight: its h_s might choose other tables
        system.answer([packet])
    measured = {(m.codec, m.lmbda): m for m in evaluate_photos({"side": again}, teacher, source.folder, {}, lmbdas=2)}
    for lmbda in (0.1, 1.0):
        all_of_it, alone = measured["side", lmbda], measured[f"side, {LATENT_ALONE}", lmbda]
        assert (all_of_it.sizes > alone.sizes).all() and np.array_equal(all_of_it.decided, alone.decided)


def test_compressais_networks_are_its_own_and_make_pixels(teacher, tmp_path):
    torch.manual_seed(0)
    theirs, encoder = ImageCodec(128, 192), Encoder(IMAGES)
    encoder.blocks.load_state_dict(theirs.g_a.state_dict())
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(encoder(x), theirs.g_a(2 * x - 1))
    pixels = PixelBackbone(teacher, 16)
    system = build_system(pixels, IMAGES, PIXELS, 0).eval()
    system.decoder.synthesis.load_state_dict(theirs.g_s.state_dict())
    with torch.no_grad():
        y_hat = torch.randn(1, 192, 4, 4)
        torch.testing.assert_close(nn.functional.pixel_shuffle(system.decoder(y_hat), 16), theirs.g_s(y_hat))
        system.decoder.fit_statistics(pixels.head(x))
    system.codec.update()
    save_system(tmp_path / "images", system, zoo.Card("images", "codec", "", "", "", {}, {}))
    again, (packet,) = load_system(tmp_path / "images", teacher), system.codec.compress(x)
    assert again.backbone.head(x).shape == (1, 768, 4, 4)
    torch.testing.assert_close(again.answer([packet]), system.answer([packet]), rtol=0.05, atol=0.05)
    with pytest.raises(ParameterError, match="stride 16"):
        build_decoder(192, FeatureSpec("efficientnet", 40, 8), PIXELS)
    with pytest.raises(ValueError, match="4, 2, 2"):
        Encoder(replace(IMAGES, strides=(2, 2, 2)))
