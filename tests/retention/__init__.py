"""What is deleted after a while, and what stays."""
