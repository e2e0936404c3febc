"""Every change of workspaces, and of who belongs to them."""
