"""Where events are delivered: endpoints created through the API, and those preset at the start.

A preset one for thin events represents an event destination at Stripe.
"""

from urllib.parse import urlsplit

from stripe.params._webhook_endpoint_create_params import WebhookEndpointCreateParams
from stripe.params._webhook_endpoint_list_params import WebhookEndpointListParams
from stripe.params._webhook_endpoint_update_params import WebhookEndpointUpdateParams

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.config import Config
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import PAGING, Call, Operation, change, only, page

KIND = "webhook_endpoint"
PRESET, PRESET_THIN = "we_preset", "we_preset_thin"


def create(call: Call) -> Object:
    params = only(call, "enabled_events", "url")
    endpoint = new_endpoint(call, params["url"]) | {"enabled_events": params["enabled_events"]}
    call.books.add(endpoint)
    return endpoint | {"secret": endpoint["_secret"]}


def update(call: Call) -> Object:
    params = only(call, "disabled")
    endpoint = call.books.need(KIND, call.path["webhook_endpoint"])
    status = "disabled" if params.get("disabled") else "enabled"
    return change(call, endpoint, {"status": status})


def list_all(call: Call) -> Object:
    only(call, *PAGING)
    found = [endpoint for endpoint in call.books.all(KIND) if not endpoint["_thin"]]
    return page(call, found, "/v1/webhook_endpoints")


def preset(books: Books, config: Config) -> None:
    """Reset the configured endpoints to the configuration."""
    wanted = (
        (PRESET, config.webhook_url, config.webhook_secret, False),
        (PRESET_THIN, config.thin_webhook_url, config.thin_webhook_secret, True),
    )
    with books.transaction():
        for given, url, secret, thin in wanted:
            former = books.get(KIND, given)
            if former and not url:
                _remove(books, former)
            elif former:
                books.save(former | {"url": url, "_secret": secret, "status": "enabled"})
            elif url:
                books.add(_endpoint(books, given=given, url=url, secret=secret, thin=thin))


def new_endpoint(call: Call, url: str, *, thin: bool = False) -> Object:
    """One for every event, with an id and a secret of its own; the caller keeps it."""
    books = call.books
    given, secret = books.new_id("we"), books.new_id("whsec")
    return _endpoint(books, given=given, url=_address(url), secret=secret, thin=thin)


def _endpoint(books: Books, *, given: str, url: str, secret: str, thin: bool = False) -> Object:
    return {
        "id": given,
        "object": KIND,
        "api_version": None,
        "application": None,
        "created": books.now(),
        "description": None,
        "enabled_events": ["*"],
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
        "_secret": secret,
        "_thin": thin,
    }


def _remove(books: Books, endpoint: Object) -> None:
    books.database.execute("delete from deliveries where endpoint = ?", (endpoint["id"],))
    books.remove(endpoint)


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PaymentsError(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
            code="url_invalid",
            param="url",
        )
    return url


OPERATIONS = (
    Operation("POST", "/v1/webhook_endpoints", WebhookEndpointCreateParams, create),
    Operation("GET", "/v1/webhook_endpoints", WebhookEndpointListParams, list_all),
    Operation(
        "POST", "/v1/webhook_endpoints/{webhook_endpoint}", WebhookEndpointUpdateParams, update
    ),
)
