"""Lines and binary frames out of a pipe, within limits."""

from __future__ import annotations

import os

from pipeline.service.errors import ServiceError


class LineTooLong(ServiceError):
    """A line was read over; ``told`` is whether the words that were looked for stood in it."""

    def __init__(self, most: int, told: bool) -> None:
        super().__init__("too_large", f"a line is longer than {most} bytes")
        self.told = told


class Pipe:
    """Lines and frames from a file descriptor, without reading more than allowed into memory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._ended = False

    def line(self, most: int, words: bytes) -> bytes | None:
        """The next line without its end, None at the end of the stream.

        Raises LineTooLong for a longer one, which is then read over and searched for ``words``.
        """
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > most:
                raise LineTooLong(most, self._skip_line(words))
            if not self._fill():
                if not self._buffer:
                    return None
                end = len(self._buffer)
                break
        if end > most:
            raise LineTooLong(most, self._skip_line(words))
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def frame(self, length: int) -> bytes:
        """Raises ServiceError when the stream ends before."""
        while len(self._buffer) < length:
            if not self._fill():
                self._buffer.clear()
                raise ServiceError("invalid_request", "the stream ended within a frame")
        frame = bytes(self._buffer[:length])
        del self._buffer[:length]
        return frame

    def skip(self, length: int) -> None:
        """Read over so many bytes."""
        while length > 0 and (self._buffer or self._fill()):
            step = min(length, len(self._buffer))
            del self._buffer[:step]
            length -= step

    def _skip_line(self, words: bytes) -> bool:
        """Read over the rest of the line; whether ``words`` stand in it."""
        told = False
        while (end := self._buffer.find(b"\n")) < 0:
            told = told or words in self._buffer
            del self._buffer[: max(0, len(self._buffer) - len(words) + 1)]  # they may be cut in two
            if not self._fill():
                self._buffer.clear()
                return told
        told = told or self._buffer.find(words, 0, end) >= 0
        del self._buffer[: end + 1]
        return told

    def _fill(self) -> bool:
        if not self._ended:
            data = os.read(self._descriptor, 2**20)
            self._buffer += data
            self._ended = not data
        return not self._ended
