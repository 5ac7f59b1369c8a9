"""The errors a user can meet. Each names the argument, the rule, the value and the way out."""


class FsplitError(Exception):
    """Base of every error this library raises on purpose; the command line prints it as one sentence."""


class DataError(FsplitError, ValueError):
    """A photo, a folder or a data file is missing, broken or of a kind we cannot read."""


class WeightsError(FsplitError, ValueError):
    """A weights file is missing, truncated, altered, or belongs to another network."""


class PacketError(FsplitError, ValueError):
    """Bytes that are not a packet of this codec: altered, truncated, foreign, or not decodable."""


class ParameterError(FsplitError, ValueError):
    """A parameter has an unknown name or a value outside its range."""


class DivergedError(FsplitError, FloatingPointError):
    """The loss of a training is no longer finite."""


class OffloadError(FsplitError):
    """A server could not be reached, did not answer in time, or refused; ``status`` is its HTTP status, if it had one."""

    def __init__(self, sentence: str, status: int | None = None):
        super().__init__(sentence)
        self.status = status
