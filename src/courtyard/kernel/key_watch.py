"""Taking over keys that were rotated in the secrets file while the server runs."""

import structlog

from courtyard.kernel.rings import Ring
from courtyard.kernel.settings import Settings, SettingsError, reread
from courtyard.kernel.settings_sources import secrets_stamp

log = structlog.get_logger()


class KeyWatch:
    """Looks whether the secrets file is another.

    A key that `courtyard keys rotate` writes there signs only after every process has had the time to look.

    Args:
        settings: of this process.
        signing: the ring of the signing keys.
        encryption: the ring of the encryption keys.
    """

    def __init__(self, settings: Settings, signing: Ring, encryption: Ring) -> None:
        self._settings = settings
        self._signing = signing
        self._encryption = encryption
        # What was read may be older than the file: so it is read once more.
        self._stamp: tuple[int, ...] | None = None

    async def look(self) -> None:
        """Take the keys of the file where it has changed; where they cannot be used, the present ones stay."""
        if not self._settings.security.stored:
            return
        stamp = secrets_stamp(self._settings.data_path)
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            security = reread(self._settings).security
        except SettingsError as error:
            log.warning("keys.unusable", faults=error.faults)
            return
        for ring, keys in ((self._signing, security.signing_ring), (self._encryption, security.encryption_ring)):
            if ring.keys != keys:
                ring.replace(keys)
                log.info("keys.changed", keys=[key.id for key in keys])
