"""What goes after a while, and what stays."""
