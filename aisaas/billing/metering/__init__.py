"""From the ledger to the payment provider's meter, and comparing both."""
