"""The encrypted stream: what comes out is what went in, and anything else is refused with a reason."""

import io

import pytest

from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.sealed import CHUNK, MAGIC, TAG, SealedReader, SealedWriter

HEADER = len(MAGIC) + 3 + 16 + 7 + TAG
PASSPHRASE = "correct horse battery"


def sealed(content: bytes, *, parts: int = 1) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, PASSPHRASE, cost=4)
    size = max(1, len(content) // parts)
    for first in range(0, len(content), size):
        writer.write(content[first : first + size])
    writer.close()
    return file.getvalue()


def opened(archive: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return SealedReader(io.BytesIO(archive), passphrase).read()


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_comes_out_is_what_went_in(length: int) -> None:
    content = bytes(length)
    assert opened(sealed(content, parts=7)) == content


def test_it_does_not_show_what_is_in_it() -> None:
    assert b"secret" not in sealed(b"secret" * 100)
    assert sealed(b"secret") != sealed(b"secret")


def test_another_passphrase() -> None:
    with pytest.raises(BackupRefused, match="the passphrase is another one"):
        opened(sealed(b"content"), "wrong")
    # A chunk that is damaged is not mistaken for it.
    with pytest.raises(BackupRefused, match=r"^it is cut off or damaged behind 0 MiB$"):
        opened(sealed(b"content")[:-1])


def test_what_is_no_archive() -> None:
    for content in (b"", b"PK\x03\x04", MAGIC):
        with pytest.raises(BackupRefused, match="not a backup"):
            opened(content)


@pytest.mark.parametrize("place", [HEADER - TAG - 1, HEADER - 1, HEADER, HEADER + CHUNK + TAG + 5, -1])
def test_a_byte_that_was_changed(place: int) -> None:
    archive = bytearray(sealed(bytes(2 * CHUNK)))
    archive[place] ^= 1
    with pytest.raises(BackupRefused, match="damaged"):
        opened(bytes(archive))


@pytest.mark.parametrize("length", [HEADER, HEADER + CHUNK + TAG, HEADER + 2 * (CHUNK + TAG), -1])
def test_one_that_was_cut_off(length: int) -> None:
    archive = sealed(bytes(3 * CHUNK))
    with pytest.raises(BackupRefused, match="damaged"):
        opened(archive[:length])


def test_one_that_goes_on() -> None:
    archive = sealed(bytes(CHUNK))
    with pytest.raises(BackupRefused, match="damaged"):
        opened(archive + archive[HEADER:])


def test_chunks_that_have_changed_places() -> None:
    archive = sealed(bytes(3 * CHUNK))
    size = CHUNK + TAG
    first, second, rest = archive[HEADER:][:size], archive[HEADER:][size : 2 * size], archive[HEADER + 2 * size :]
    with pytest.raises(BackupRefused, match="damaged"):
        opened(archive[:HEADER] + second + first + rest)


def test_a_cost_that_would_take_all_memory() -> None:
    archive = bytearray(sealed(b"content"))
    archive[len(MAGIC)] = 60
    with pytest.raises(BackupRefused, match="header"):
        opened(bytes(archive))
