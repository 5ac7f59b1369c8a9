"""Latent to features: the blocks (``blocks``) and the decoder that stacks them for a backbone (``decoder``)."""

from fsplit_lib.decoders.decoder import Decoder, DecoderConfig, build_decoder
