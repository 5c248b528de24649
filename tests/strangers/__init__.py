"""What strangers may send, and what it costs the others."""
