"""What comes in and goes out about workspaces and members."""
