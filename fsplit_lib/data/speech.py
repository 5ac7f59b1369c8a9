"""Speech as a picture of one channel: WAV files, a mel filter bank, and log-mel patches of 64 bands by 64 frames.

    samples (N,) at 8 kHz ──► |STFT|² ──► mel filter bank ──► decibels below the peak ──► (1, 64, 64) uint8

The mel scale is O'Shaughnessy's (1987), m = 2595 log10(1 + f / 700) for a frequency of f hertz.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

from fsplit_lib.data.files import data_root
from fsplit_lib.errors import DataError

TRAINED_ON = ("george", "jackson", "lucas", "nicolas")  # of six speakers the first four by name; others are held out
RATE = 8000  # samples a second
BANDS = FRAMES = 64
WINDOW, HOP, FFT = 128, 100, 512  # samples: windows of 16 ms, too short to resolve a voice's pitch, every 12.5 ms
DECIBELS = 60.0  # below the peak, and all that is softer, is 0
NAME = re.compile(r"(\d)_([^_]+)_.+\.wav")


def read_wav(path: Path) -> np.ndarray:
    """Read a WAV file as samples (N,) float64 in [-1, 1] at 8 kHz.

    Channels are averaged, and other sampling rates are resampled.

    Raises:
        DataError: the file is missing, no WAV file, or holds no sound.

    >>> read_wav(data_root() / "speech" / "seven.wav").shape
    (7396,)
    """
    if not Path(path).is_file():
        raise DataError(f"there is no recording {path}")
    try:
        rate, samples = wavfile.read(path)
    except Exception as error:  # scipy raises half a dozen kinds on damaged files
        raise DataError(f"{path} is no WAV file that can be read ({error}): save the recording as PCM WAV") from error
    x, kind = samples.astype(np.float64), samples.dtype
    if kind == np.uint8:
        x = (x - 128) / 128  # WAV files of 8 bits have no sign
    elif np.issubdtype(kind, np.integer):
        x /= -float(np.iinfo(kind).min)
    if x.ndim == 2:
        x = x.mean(axis=1)
    if not len(x) or not np.isfinite(x).all() or not x.any():
        raise DataError(f"{path} holds no sound: record it again")
    return x if rate == RATE else resample_poly(x, RATE, rate)


def mel_filters(bands: int, size: int, rate: int) -> np.ndarray:
    """Compute triangles that are equally wide on the mel scale, each 1 at its centre: (bands, size // 2 + 1).

    The size is that of the FFT in samples, the rate in samples a second.

    >>> mel_filters(BANDS, FFT, RATE).shape
    (64, 257)
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # (bands + 2,) hertz
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hertz = np.arange(size // 2 + 1) * rate / size
    return np.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre)).clip(0)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Compute the patch (1, 64, 64) uint8 of samples (N,) at 8 kHz: the loudest 0.8 seconds, or all between silence.

    >>> patch = log_mel(np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE))
    >>> patch.shape, int(patch[0].sum(axis=1).argmax())  # 1000 Hz
    ((1, 64, 64), 29)
    """
    padded = np.pad(samples, (WINDOW // 2, WINDOW // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 @ mel_filters(BANDS, FFT, RATE).T  # (frames, bands)
    decibels = 10 * np.log10(power / power.max() + 1e-12)
    mel = np.rint(255 * (1 + decibels / DECIBELS).clip(0)).astype(np.uint8).T  # (bands, frames)
    missing = max(0, FRAMES - mel.shape[1])
    mel = np.pad(mel, ((0, 0), (missing // 2, missing - missing // 2)))
    loudness = np.convolve(mel.sum(axis=0), np.ones(FRAMES), "valid")
    first = int(loudness.argmax())
    return mel[None, :, first : first + FRAMES]


def spoken_digits(folder: Path, split: Literal["train", "test"]) -> tuple[list[Path], np.ndarray]:
    """List recordings ``{digit}_{speaker}_{n}.wav``, as of the Free Spoken Digit Dataset, and their digits (N,) int64.

    Those to train on are of the speakers :data:`TRAINED_ON`, those to test on of all others, the reader among them.

    Raises:
        DataError: there are none.
    """
    named = [(path, NAME.fullmatch(path.name)) for path in sorted(Path(folder).glob("*.wav"))]
    found = [(path, int(m[1])) for path, m in named if m and (m[2] in TRAINED_ON) == (split == "train")]
    if not found:
        who = f"{'others than ' if split == 'test' else ''}{', '.join(TRAINED_ON)}"
        raise DataError(f"{folder} holds no recording {{digit}}_{{speaker}}_{{n}}.wav of {who}")
    paths, digits = zip(*found, strict=True)
    return list(paths), np.array(digits)


def patches(paths: Sequence[Path]) -> np.ndarray:
    """Compute the patches (N, 1, 64, 64) uint8 of recordings."""
    return np.stack([log_mel(read_wav(path)) for path in paths])


def japanese_vowels(split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Read the Japanese Vowels (Kudo, Toyama & Shimbo 1999): nine men say /ae/, and the class is who speaks.

    Each of 270 utterances to train on, or 370 of the same speakers to test on, is 12 cepstral coefficients at 7 to 29
    moments, 6.4 ms apart. Patches are (N, 1, 12, 32) uint8, each coefficient between its least (1) and largest (255)
    value in training and 0 behind the end, and speakers (N,) int64, 0 to 8.

    Raises:
        DataError: the file is missing.

    >>> [part.shape for part in japanese_vowels("train")]
    [(270, 1, 12, 32), (270,)]
    """
    path = data_root() / "speech" / "japanese_vowels.npz"
    if not path.is_file():
        raise DataError(f"{path} is missing: restore it with `git checkout -- data/speech`")
    stored = np.load(path)
    low, high = stored["train_values"].min(axis=0), stored["train_values"].max(axis=0)  # (12,)
    values = np.rint(1 + 254 * ((stored[f"{split}_values"] - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    lengths = stored[f"{split}_lengths"].astype(int)
    images = np.zeros((len(lengths), 1, 12, 32), np.uint8)
    for image, utterance in zip(images, np.split(values, lengths.cumsum()[:-1]), strict=True):
        image[0, :, : len(utterance)] = utterance.T
    return images, stored[f"{split}_speakers"].astype(np.int64)
