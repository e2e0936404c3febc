"""An encrypted stream of any length, in flat memory: scrypt, and AES-256-GCM over chunks.

The chunks are those of the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015): the nonce of each holds its
number and whether it is the last, so that an archive that was cut off, or whose chunks have changed places, does not
decrypt. The header is authenticated with each chunk, and by a tag of its own, which tells a passphrase that is another
one from an archive that is damaged.
"""

import os
import struct
from collections.abc import Iterator
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from courtyard.kernel.backup.errors import BackupRefused

MAGIC = b"courtyard backup 1\n"
CHUNK = 1 << 20
TAG = 16
# RFC 7914; 128 MiB of memory, so that a guess is dear.
COST, BLOCK, LANES = 17, 8, 1
MOST_COST = 22
_HEADER = struct.Struct(">BBB16s7s")


class Writable(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Take some bytes."""
        ...


class Readable(Protocol):
    """Has bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, or what is left."""
        ...


class SealedWriter:
    """Encrypts what is written to it. Without `close` the archive is not whole, and will be refused.

    Args:
        file: where to.
        passphrase: what opens it again.
        cost: of a guess, as the power of two of scrypt; `COST` unless given.
    """

    def __init__(self, file: Writable, passphrase: str, *, cost: int | None = None) -> None:
        cost = cost or COST
        salt, self._prefix = os.urandom(16), os.urandom(7)
        self._header = MAGIC + _HEADER.pack(cost, BLOCK, LANES, salt, self._prefix)
        self._cipher = _cipher(passphrase, salt, cost, BLOCK, LANES)
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header + self._cipher.encrypt(_check(self._prefix), b"", self._header))

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        self._waiting += data
        # One byte more than a chunk is not the last one.
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), is_last=False)
            del self._waiting[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._waiting), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, is_last=is_last)
        self._file.write(self._cipher.encrypt(nonce, chunk, self._header))
        self._number += 1


class SealedReader:
    """Decrypts an archive as it is read.

    Args:
        file: from where.
        passphrase: with which it was made.

    Raises:
        BackupRefused: it is no archive. Later, at any read: it is damaged, cut off, or of another passphrase.
    """

    def __init__(self, file: Readable, passphrase: str) -> None:
        header = file.read(len(MAGIC) + _HEADER.size)
        if not header.startswith(MAGIC) or len(header) < len(MAGIC) + _HEADER.size:
            raise BackupRefused("it is not a backup of Courtyard")
        cost, block, lanes, salt, self._prefix = _HEADER.unpack(header[len(MAGIC) :])
        if not 1 <= cost <= MOST_COST or (block, lanes) != (BLOCK, LANES):
            raise BackupRefused("its header is damaged")
        self._header = header
        self._cipher = _cipher(passphrase, salt, cost, block, lanes)
        try:
            self._cipher.decrypt(_check(self._prefix), file.read(TAG), header)
        except InvalidTag:
            raise BackupRefused("the passphrase is another one, or the header is damaged") from None
        self._chunks = self._opened(file)
        self._waiting = bytearray()

    def _opened(self, file: Readable) -> Iterator[bytes]:
        number, sealed = 0, file.read(CHUNK + TAG)
        while True:
            following = file.read(CHUNK + TAG)
            is_last = not following
            try:
                yield self._cipher.decrypt(_nonce(self._prefix, number, is_last=is_last), sealed, self._header)
            except InvalidTag:
                raise BackupRefused(f"it is {'cut off or ' if is_last else ''}damaged behind {number} MiB") from None
            if is_last:
                return
            number, sealed = number + 1, following

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or what is left."""
        while size < 0 or len(self._waiting) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._waiting += chunk
        size = len(self._waiting) if size < 0 else size
        found = bytes(self._waiting[:size])
        del self._waiting[:size]
        return found


def _cipher(passphrase: str, salt: bytes, cost: int, block: int, lanes: int) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=1 << cost, r=block, p=lanes).derive(passphrase.encode()))


def _nonce(prefix: bytes, number: int, *, is_last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([is_last])


def _check(prefix: bytes) -> bytes:
    # No chunk has this one: the last byte of theirs is 0 or 1.
    return prefix + bytes(4) + b"\x02"
