"""The harness that measures Courtyard beside its peers, and the peers.

`make bench` runs it; `groups/` lists what is measured and the bars. Nothing here imports `courtyard`: every server,
ours included, is a process that is spoken to over its socket. See README.md for what is fair and why.
"""
