"""What every application stands on. Nothing in here may import an application.

The modules directly in this folder are small things without I/O; each sub-package is one capability, entered
through its `__init__`.
"""
