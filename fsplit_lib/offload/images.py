"""Strangers' images, decoded and cropped in processes of their own: a thread that hangs cannot be killed, a process can.

    server ──► length, image file ──► this module as a program ──► status, length, crop or sentence ──► server

Nothing is pickled between the two, and the program has no torch: it starts in a fraction of a second and holds one picture.
"""

import asyncio
import contextlib
import io
import os
import struct
import sys
from collections.abc import Iterator

from fsplit_lib.data.images import center_crop, open_image
from fsplit_lib.errors import DataError

PROGRAM, READY = ("-m", "fsplit_lib.offload.images"), b"!"
LENGTH = struct.Struct("<I")  # of what is asked
HEAD = struct.Struct("<?I")  # done or refused, and length of what is told


class ImageDecoders:
    """Processes that decode images, each one after the other: as many as there are calls at the same time.

    Calls at the same time, times ``max_pixels`` of an image by its header, bound the memory. A process that takes
    longer than ``seconds`` for an image, without its start, is killed. Crops are ``size`` pixels a side.
    """

    def __init__(self, size: int, max_pixels: int, seconds: float):
        self.command = [sys.executable, "-W", "ignore", *PROGRAM, str(size), str(max_pixels)]
        self.seconds = seconds
        self.idle: list[asyncio.subprocess.Process] = []

    async def crop(self, data: bytes) -> bytes:
        """Return the RGB bytes (size, size, 3) of an image file.

        Raises:
            DataError: the image cannot be decoded, or not in time.
        """
        try:
            while self.idle:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # it may have died waiting
                    return await self._ask(self.idle.pop(), data)
            return await self._ask(await self._begin(), data)
        except TimeoutError as error:
            raise DataError(f"the image took more than {self.seconds:g} s to decode: scale it down first") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise DataError("the image brought its decoder down: save it again, or as a PNG") from error

    async def _begin(self) -> asyncio.subprocess.Process:
        pipe, environment = asyncio.subprocess.PIPE, os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = await asyncio.create_subprocess_exec(
            *self.command, stdin=pipe, stdout=pipe, env=environment, start_new_session=True
        )
        with _killed_unless_done(process):
            await process.stdout.readexactly(len(READY))
        return process

    async def _ask(self, process: asyncio.subprocess.Process, data: bytes) -> bytes:
        with _killed_unless_done(process):
            async with asyncio.timeout(self.seconds):
                process.stdin.write(LENGTH.pack(len(data)) + data)
                await process.stdin.drain()
                done, length = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
                told = await process.stdout.readexactly(length)
        self.idle.append(process)
        if not done:
            raise DataError(told.decode())
        return told

    async def close(self) -> None:
        """End the idle processes; one that is at work ends with the call."""
        for process in self.idle:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.contextmanager
def _killed_unless_done(process: asyncio.subprocess.Process) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise


def crop(data: bytes, size: int, max_pixels: int) -> bytes:
    """Return the RGB bytes (size, size, 3) of an image file: cropped, unless it has that size already.

    Raises:
        DataError: see :func:`fsplit_lib.data.open_image`.
    """
    image = open_image(io.BytesIO(data), max_pixels=max_pixels)
    return (image if image.size == (size, size) else center_crop(image, size)).tobytes()


def main() -> None:
    """Answer on standard output what is asked on standard input, until that ends."""
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    size, max_pixels = map(int, sys.argv[1:])
    told.write(READY)
    told.flush()
    while head := asked.read(LENGTH.size):
        try:
            done, answer = True, crop(asked.read(*LENGTH.unpack(head)), size, max_pixels)
        except DataError as error:
            done, answer = False, str(error).encode()
        told.write(HEAD.pack(done, len(answer)) + answer)
        told.flush()


if __name__ == "__main__":
    main()
