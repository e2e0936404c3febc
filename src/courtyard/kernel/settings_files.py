"""The sections of files and of where their bytes are kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from courtyard.kernel.settings_sections import DAY_SECONDS, MINUTE_SECONDS, Section

MIB = 1 << 20
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in value or parts.query or parts.fragment:
        raise ValueError("must be an address such as https://s3.example.org")
    return value.rstrip("/")


Endpoint = Annotated[str, Field(max_length=500), AfterValidator(_endpoint)]
# What stands before every key: names with slashes between, none of them a dot.
Prefix = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$", max_length=200)]


class StorageSettings(Section):
    """Where the bytes of files are kept.

    What is not set is taken from where the platform keeps it: the role of the machine, the variables that the tools
    of each cloud read.
    """

    kind: Literal["local", "s3", "gcs", "azure"] = Field(
        "local", description="A folder of this machine, Amazon S3 and what speaks like it, Google, or Azure Blob."
    )
    path: Path | None = Field(None, description="The folder, where `kind` is local. Not set: `files` in `data_dir`.")
    bucket: str | None = Field(
        None, min_length=1, max_length=255, description="The bucket; for Azure the container. It has to exist."
    )
    prefix: Prefix = Field("", description="What every key in the bucket begins with, without a slash at the end.")
    endpoint: Endpoint | None = Field(
        None, description="Address of the service, where it is not that of Amazon, Google or Azure."
    )
    region: str | None = Field(None, min_length=1, max_length=100, description="Region of the bucket (S3).")
    access_key_id: str | None = Field(
        None, min_length=1, max_length=500, description="Name of the access key (S3), or of the account (Azure)."
    )
    secret_access_key: SecretStr | None = Field(
        None, description="The access key (S3), or that of the account (Azure)."
    )
    service_account: SecretStr | None = Field(None, description="The JSON of a service account (GCS).")
    timeout_seconds: float = Field(30, ge=0.1, le=600, description="Longest time for one request to the service.")
    retry_seconds: float = Field(10, ge=0, le=600, description="How long a request that fails is tried again.")


class FileSettings(Section):
    """Files that people upload."""

    storage: StorageSettings = StorageSettings()
    max_bytes: int = Field(
        2_147_483_648, ge=1_024, le=53_687_091_200, description="Longest file, whatever an application allows."
    )
    upload_seconds: int = Field(
        3_600, ge=1, le=DAY_SECONDS, description="Longest time for one upload; what is unfinished then is removed."
    )
    uploads: int = Field(
        32, ge=1, le=1_000, description="Uploads at once, per process; with more it answers 503. Each takes some 20 MB."
    )
    link_seconds: int = Field(
        900, ge=10, le=DAY_SECONDS, description="How long a signed link is good, at most and unless less is asked for."
    )
    redirect: bool = Field(
        default=False,
        description="Whether signed links lead to the service of the bucket itself, by an address that it believes.",
    )
    unattached_seconds: int = Field(
        DAY_SECONDS,
        ge=MINUTE_SECONDS,
        le=365 * DAY_SECONDS,
        description="How long an uploaded file waits to become part of something, before it is removed.",
    )
    orphan_seconds: int = Field(
        DAY_SECONDS,
        ge=MINUTE_SECONDS,
        le=365 * DAY_SECONDS,
        description="Age at which what lies in the storage without a file in the database is removed.",
    )
    picture_bytes: int = Field(33_554_432, ge=1_024, le=1_073_741_824, description="Longest picture.")
    picture_pixels: int = Field(
        50_000_000,
        ge=10_000,
        le=500_000_000,
        description="Most pixels of a picture, in all frames together. Each takes some 8 bytes of memory for a moment.",
    )
    picture_seconds: float = Field(20, ge=0.1, le=600, description="Longest time for the work on one picture.")
    picture_workers: int = Field(2, ge=1, le=64, description="Pictures worked on at once, per process.")


def file_refusals(files: FileSettings, *, production: bool) -> Iterator[str]:
    """Name each reason why a server must not start with these settings."""
    yield from storage_refusals("files.storage", files.storage, production=production)


def storage_refusals(name: str, storage: StorageSettings, *, production: bool) -> Iterator[str]:
    """Name each reason why a storage cannot be used.

    Args:
        name: of its section.
        storage: its settings.
        production: whether this is a server that people rely on.
    """
    if storage.kind != "local" and storage.bucket is None:
        yield f"{name}.bucket must be set where {name}.kind is not local"
    if storage.kind in {"s3", "azure"} and (storage.access_key_id is None) != (storage.secret_access_key is None):
        yield f"{name}.access_key_id and {name}.secret_access_key are set together, or neither"
    if production and storage.endpoint is not None:
        endpoint = urlsplit(storage.endpoint)
        if endpoint.scheme != "https" and endpoint.hostname not in LOOPBACK:
            yield f"{name}.endpoint must begin with https:// (plain http only for localhost)"
