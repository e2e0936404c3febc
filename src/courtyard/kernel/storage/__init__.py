"""Where the bytes of files are kept: a folder, S3, Google, Azure, all behind one small interface.

Stands on the settings and `obstore`. Knows no rights, no database and no names that people give: what it is handed is
a key, and each key is written once and never changed.
"""

from courtyard.kernel.storage.errors import Missing, StorageUnavailable, TooManyUploads
from courtyard.kernel.storage.objects import ObjectStorage
from courtyard.kernel.storage.opening import open_storage
from courtyard.kernel.storage.placement import SharedStorage, StoragePlacement
from courtyard.kernel.storage.slots import Slots
from courtyard.kernel.storage.storage import Storage, StoredObject

__all__ = [
    "Missing",
    "ObjectStorage",
    "SharedStorage",
    "Slots",
    "Storage",
    "StoragePlacement",
    "StorageUnavailable",
    "StoredObject",
    "TooManyUploads",
    "open_storage",
]
