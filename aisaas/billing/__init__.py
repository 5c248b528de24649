"""Plans, the allowance, the ledger."""
