"""What goes out about quotas."""

import msgspec

from courtyard.kernel.schema import Output


class QuotaUse(Output, frozen=True):
    """How much of something a workspace has.

    Attributes:
        name: the module and what is counted.
        description: what is counted, in a sentence.
        unit: what one is.
        limit: how much it may have; null for any amount.
        used: how much it has.
    """

    name: str
    description: str
    unit: str
    limit: int | None
    used: int


class StoredUse(msgspec.Struct, frozen=True):
    """What the database knows of a quota; `most` is null where nothing is set for this workspace."""

    name: str
    used: int
    most: int | None
