"""What you used, and when it renews."""
