"""Backups: everything of an installation in one encrypted archive, in a folder or a bucket, and back.

Stands on tasks, shards and storage. Knows no table: databases are copied by their own means.
"""

from courtyard.kernel.backup.tasks import backups

__all__ = ["backups"]
