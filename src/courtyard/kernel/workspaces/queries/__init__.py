"""Every read of workspaces and members."""
