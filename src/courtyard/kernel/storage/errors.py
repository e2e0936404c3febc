"""What a storage can answer instead of bytes."""

from courtyard.kernel.errors import Unavailable


class StorageUnavailable(Unavailable):
    """The storage of files does not answer, or refuses: the same request may succeed soon."""

    code = "storage_unavailable"
    title = "The storage of files is temporarily unavailable"


class TooManyUploads(Unavailable):
    """This server takes in as many files as it can."""

    code = "too_many_uploads"
    title = "Too many uploads at once"


class Missing(Exception):
    """Nothing is stored under the key."""
