"""From the settings to a storage."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.storage.objects import REMOTE_PART, ObjectStorage
from courtyard.kernel.storage.storage import Storage

if TYPE_CHECKING:
    from pydantic import SecretStr

Values: TypeAlias = dict[str, Any]


def open_storage(settings: StorageSettings, folder: Path, *, part_bytes: int = REMOTE_PART) -> Storage:
    """Return the storage of these settings. Nothing is reached yet.

    Args:
        settings: of the storage.
        folder: where it is, for the local kind.
        part_bytes: what is sent to a bucket at once (see `ObjectStorage`).
    """
    if settings.kind == "local":
        return ObjectStorage(lambda: LocalStore(folder, mkdir=True), folder=folder)
    return ObjectStorage(lambda: _remote(settings), part_bytes=part_bytes)


def _remote(settings: StorageSettings) -> S3Store | GCSStore | AzureStore:
    retry = timedelta(seconds=settings.retry_seconds)
    common: Values = {
        "prefix": settings.prefix or None,
        "client_options": _given(
            timeout=timedelta(seconds=settings.timeout_seconds),
            # A plain address is the operator's choice; the settings refuse one in production.
            allow_http=(settings.endpoint or "").startswith("http://") or None,
        ),
        "retry_config": {"max_retries": 10 if retry else 0, "retry_timeout": retry},
    }
    bucket, secret = settings.bucket or "", _revealed(settings.secret_access_key)
    if settings.kind == "s3":
        keys = _given(access_key_id=settings.access_key_id, secret_access_key=secret)
        return S3Store(bucket, config=_given(endpoint=settings.endpoint, region=settings.region) | keys, **common)
    if settings.kind == "gcs":
        account = _given(service_account_key=_revealed(settings.service_account), base_url=settings.endpoint)
        return GCSStore(bucket, config=account, **common)
    keys = _given(account_name=settings.access_key_id, account_key=secret, endpoint=settings.endpoint)
    return AzureStore(bucket, config=keys, **common)


def _given(**values: Any) -> Any:  # noqa: ANN401 - typed dictionaries of the library
    return {name: value for name, value in values.items() if value is not None}


def _revealed(secret: "SecretStr | None") -> str | None:
    return None if secret is None else secret.get_secret_value()
