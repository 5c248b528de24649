"""What all users use, what it costs and what it brings in."""
