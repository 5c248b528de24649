"""What may be spent, what is stopped, and which models are sold how."""
