"""What is measured: one module per group, with its works and their bars in `WORKS`.

A group of the name `chat` is the module `chat` in here; `python -m benchmarks.run --only chat` finds it by its name.
"""
