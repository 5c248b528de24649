"""The conversation: list, transcript, composer."""
