"""A stateful fake of Stripe for development, spoken to through Stripe's own SDK.

It stands in where the product depends on Stripe's behaviour: requests are read against the SDK's own
typed parameters, so that what Stripe would refuse is refused here; what was answered survives a
crash; keys make calls repeatable; events are signed and delivered until they are taken. Time can be
moved forward, so that a month passes in a test.

Invariants: loopback and development only; no money moves; no key, secret or address is ever logged.
"""
