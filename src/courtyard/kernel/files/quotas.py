"""How many bytes of files a workspace may have."""

from courtyard.kernel.files.queries import count_bytes
from courtyard.kernel.quotas import Quota

BYTES = Quota(
    name="files.bytes",
    description="The bytes of all files of the workspace and of their thumbnails; what is being uploaded counts too.",
    unit="bytes",
    count=count_bytes,
)
QUOTAS = (BYTES,)
