"""The settings of files: what no server starts with."""

from typing import Any

import pytest
from pydantic import ValidationError

from courtyard.kernel.settings_files import FileSettings, file_refusals


def refusals(*, production: bool = False, **storage: Any) -> list[str]:
    return list(file_refusals(FileSettings.model_validate({"storage": storage}), production=production))


def test_the_default_needs_nothing() -> None:
    assert refusals(production=True) == []


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_a_bucket_has_a_name(kind: str) -> None:
    assert refusals(kind=kind) == ["files.storage.bucket must be set where files.storage.kind is not local"]
    assert refusals(kind=kind, bucket="files") == []


def test_a_key_has_two_halves() -> None:
    (fault,) = refusals(kind="s3", bucket="files", access_key_id="a")
    assert fault == "files.storage.access_key_id and files.storage.secret_access_key are set together, or neither"
    assert refusals(kind="s3", bucket="files", access_key_id="a", secret_access_key="b") == []


def test_keys_do_not_travel_in_clear() -> None:
    plain = {"kind": "s3", "bucket": "files", "endpoint": "http://minio.example.org"}
    assert refusals(production=True, **plain) == [
        "files.storage.endpoint must begin with https:// (plain http only for localhost)"
    ]
    assert refusals(production=True, **{**plain, "endpoint": "http://127.0.0.1:9000"}) == []


@pytest.mark.parametrize("prefix", ["/a", "a/", "a//b", "..", "a/../b", "a b"])
def test_a_prefix_is_names_with_slashes_between(prefix: str) -> None:
    with pytest.raises(ValidationError):
        FileSettings.model_validate({"storage": {"prefix": prefix}})


@pytest.mark.parametrize("endpoint", ["s3.example.org", "ftp://a", "https://user:pass@a", "https://a/?b"])
def test_an_endpoint_is_a_plain_address(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        FileSettings.model_validate({"storage": {"endpoint": endpoint}})
