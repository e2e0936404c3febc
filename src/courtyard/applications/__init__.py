"""The applications. Each is a package of its own that knows the kernel and none of its neighbours."""
