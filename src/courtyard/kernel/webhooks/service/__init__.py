"""What a workspace says of its endpoints, and what becomes of events and deliveries."""
