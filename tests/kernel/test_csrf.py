"""The token of changes by cookie."""

import secrets
from uuid import uuid4

import pytest

from courtyard.kernel.crypto import Signer
from courtyard.kernel.csrf import csrf_token, is_csrf_token

OLD, NEW = ("old", secrets.token_bytes(32)), ("new", secrets.token_bytes(32))
SIGNER = Signer([OLD])


def test_the_token_of_a_session_is_known() -> None:
    session_id = uuid4()
    token = csrf_token(SIGNER, session_id)
    assert len(bytes.fromhex(token)) == 32
    assert token == csrf_token(SIGNER, session_id)
    assert is_csrf_token(SIGNER, session_id, token)


def test_it_is_of_no_other_session_and_no_other_server() -> None:
    session_id = uuid4()
    assert not is_csrf_token(SIGNER, session_id, csrf_token(SIGNER, uuid4()))
    assert not is_csrf_token(SIGNER, session_id, csrf_token(Signer([NEW]), session_id))
    assert not is_csrf_token(SIGNER, session_id, session_id.hex)


@pytest.mark.parametrize("shown", ["", "x", "zz", "ü", "00", "0" * 63, "0" * 64, "\x00", "0" * 10_000])
def test_what_is_no_token_is_refused(shown: str) -> None:
    assert not is_csrf_token(SIGNER, uuid4(), shown)


def test_a_new_key_takes_over_from_an_old_one() -> None:
    session_id = uuid4()
    token = csrf_token(SIGNER, session_id)
    both = Signer([NEW, OLD])
    assert is_csrf_token(both, session_id, token)
    assert csrf_token(both, session_id) != token
