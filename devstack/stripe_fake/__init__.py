"""A stateful fake of Stripe for development, spoken to through Stripe's own SDK.

It behaves like Stripe where the product depends on it: requests are checked against the SDK's own
typed parameters, so that what Stripe would refuse is refused here; answered calls survive a crash;
idempotency keys make calls repeatable; events are signed and delivered until they are accepted.
Time can be moved forward, so that a month passes in a test.

Invariants: loopback and development only; no money moves; no key, secret or address is ever logged.
"""
