"""What the routes share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.routing import BaseRoute

from devstack.stripe_fake.books import Books
from devstack.stripe_fake.config import Config
from devstack.stripe_fake.delivery import Deliverer
from devstack.stripe_fake.faults import Faults


@dataclass(frozen=True, slots=True)
class Services:
    """`busy` has the keys and lanes of the calls that are being answered."""

    config: Config
    books: Books
    deliverer: Deliverer
    faults: Faults = field(default_factory=Faults)
    busy: set[str] = field(default_factory=set[str])


# Routes that are no operations of the API: pages, the control of tests.
Routes = Callable[[Services], list[BaseRoute]]
