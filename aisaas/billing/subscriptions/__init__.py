"""What users pay for, as the payment provider has it."""
