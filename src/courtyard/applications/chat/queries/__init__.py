"""Every read of the chat: single conversations, and the lists of the staff."""
