"""Small servers that do the same work in the usual way of their framework, written by us to be measured against.

They have no authentication, authorisation, idempotency or events: the same page of messages and one bare insert.
"""
