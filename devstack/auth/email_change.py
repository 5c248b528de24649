"""A new address for an account: announced, confirmed from both mailboxes, then in force.

Invariant: nothing but a mail to the new address makes it the account's; and where changes are
secure, neither does that alone.
"""

from http import HTTPStatus

from psycopg.errors import UniqueViolation

from devstack.auth import mail, one_time, users
from devstack.auth.database import Connection
from devstack.auth.errors import EMAIL_EXISTS, AuthError
from devstack.auth.one_time import Challenge, Redeemed
from devstack.auth.services import Services
from devstack.auth.users import User

HALF_DONE = "Confirmation link accepted. Please proceed to confirm link sent to the other email"


async def begin(
    services: Services,
    connection: Connection,
    user: User,
    *,
    email: str,
    redirect_to: str | None,
    challenge: Challenge | None,
) -> None:
    """Mails the new address, and the current one too where changes are secure.

    Raises `AuthError` 429 when the last mails are too young.
    """
    one_time.check_interval(user.email_change_sent_at, services.config.mail_interval)
    await users.announce_email_change(connection, user, email)
    issued = await one_time.issue(
        connection, user, "email_change_new", relates_to=email, challenge=challenge
    )
    await mail.send(
        connection,
        services.config,
        to=email,
        kind="email_change",
        issued=issued,
        redirect_to=redirect_to,
    )
    if not services.config.secure_email_change or not user.email:
        return
    issued = await one_time.issue(
        connection, user, "email_change_current", relates_to=user.email, challenge=challenge
    )
    await mail.send(
        connection,
        services.config,
        to=user.email,
        kind="email_change",
        template="email_change_current",
        issued=issued,
        redirect_to=redirect_to,
    )


async def confirm(
    services: Services, connection: Connection, user: User, redeemed: Redeemed
) -> bool:
    """Whether the new address is now in effect; if not, the other mailbox has yet to confirm.

    Raises `AuthError` 422 when another user has taken the address meanwhile.
    """
    new = user.email_change
    if not new or (redeemed.purpose == "email_change_new" and redeemed.relates_to != new):
        raise one_time.expired()
    if services.config.secure_email_change and user.email and not user.email_change_confirm_status:
        await users.half_confirm_email_change(connection, user.id)
        return False
    try:
        async with connection.transaction():
            await users.set_email(connection, user.id, new)
    except UniqueViolation as error:
        raise AuthError(HTTPStatus.UNPROCESSABLE_ENTITY, *EMAIL_EXISTS) from error
    return True
