"""What is sent, what somebody wants to be sent, and in whose words."""
