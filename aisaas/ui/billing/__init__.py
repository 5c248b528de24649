"""The plan, what it costs, and how it is paid."""
