"""What can go wrong with the demo."""


class DemoFailed(Exception):
    """The server did not do what it should; the message says what."""
