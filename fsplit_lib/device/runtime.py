"""The encoder on the device: onnxruntime for the network, the codec's packer for the rest.

photo ──► preprocess ──► x ──► encode ──► y ──► symbols ──► entropy code ──► Packet ──► bytes
Pillow                        onnxruntime       numpy       constriction     struct, zlib
"""

import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from fsplit_lib.data.images import center_crop, to_array
from fsplit_lib.device.bundle import Bundle, read_bundle
from fsplit_lib.errors import ParameterError, WeightsError
from fsplit_lib.packet import check_size

Precision = Literal["float32", "int8"]
FILES = {"float32": "encoder.onnx", "int8": "encoder.int8.onnx"}


class Network:
    """An ONNX file as a function of one array, each call on as many threads as are allowed.

    Raises:
        ParameterError: fewer than one thread, or onnxruntime is not installed.
        WeightsError: not a network that onnxruntime can run.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        if threads < 1:
            raise ParameterError(f"threads must be at least 1, got {threads}; this machine has {os.cpu_count()}")
        try:
            import onnxruntime
        except ImportError as error:
            raise ParameterError("running on the device needs onnxruntime: pip install fsplit_lib[device]") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        # idle threads of one session must not slow down what is timed beside it
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises kinds of its own
            raise WeightsError(f"{path} is not a network that onnxruntime can run: {error}") from error
        self._name = self._session.get_inputs()[0].name
        self.threads = threads

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._name: x})[0]


class DeviceEncoder:
    """Photos to packets, without torch; a server with the same codec's checkpoint decodes them.

    The bundle is a folder that ``fsplit export`` has written, or what was read from it.

    Raises:
        ParameterError: an unknown precision, or no threads.
        WeightsError: a missing, damaged or foreign bundle.
    """

    def __init__(self, bundle: str | Path | Bundle, precision: Precision = "float32", threads: int = 1):
        if precision not in FILES:
            raise ParameterError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        self._network = Network(self.bundle.path(FILES[precision]), threads)

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """Return the centre crop of an RGB photo as (1, 3, 224, 224) float32 in [0, 1]."""
        return to_array(center_crop(image))[None]

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Encode pixels (1, 3, H, W) float32 in [0, 1] to the latent y (1, C, H/stride, W/stride).

        Raises:
            ValueError: another shape, sides that are no multiples of the stride, or too many pixels.
        """
        stride = self.bundle.packer.stride
        if x.ndim != 4 or x.shape[:2] != (1, 3):
            raise ValueError(f"x must be (1, 3, H, W) with sides that are multiples of {stride}, got {x.shape}")
        check_size(*x.shape[2:], stride)
        return self._network(x)

    def compress(self, image: Image.Image, lmbda: float | None = None) -> bytes:
        """Compress an RGB photo of any size to the bytes that travel."""
        return self.bundle.packer.pack(self.encode(self.preprocess(image))[0], lmbda).to_bytes()
