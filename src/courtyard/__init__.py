"""Courtyard: one self-hosted back end, four applications around one kernel.

`server` assembles the ASGI application, `cli` is the command line; `kernel` knows no application.
"""

__version__ = "0.1.0"
