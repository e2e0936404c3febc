"""Backups: everything of an installation in one encrypted file, and back.

Stands on shards and storage. Knows no table: databases are copied by their own means.
"""
