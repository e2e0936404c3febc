"""Relocation: lets a workspace live in another database, with all its rows.

Stands on workspaces and shards. Knows no part of the house by name: what is moved is every table of `WorkspaceBase`.
"""
