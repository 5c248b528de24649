"""What things cost: plans, reservations, the ledger, metering, subscriptions, and notices."""
