"""The tests. The folders mirror those of the package; what many tests need stands directly in this one."""
