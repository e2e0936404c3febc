"""Every change of conversations: who opens, ends and writes; who of the staff is in it; what the staff notes."""
