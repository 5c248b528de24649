"""Errors in the format of Stripe's."""

from http import HTTPStatus
from typing import Any


class PaymentsError(Exception):
    """A refusal. `param` is in form notation (`items[0][price]`); `code` as in Stripe's list."""

    def __init__(
        self,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = int(status)
        details = {"code": code, "message": message, "param": param, "type": kind, **more}
        self.body = {"error": {name: value for name, value in details.items() if value is not None}}


class TriedError(PaymentsError):
    """A refusal after something was done that stays done, as a charge that was tried in vain."""


def missing_resource(kind: str, given: str, param: str) -> PaymentsError:
    name = kind.rpartition(".")[2].replace("_", " ")
    return PaymentsError(
        f"No such {name}: '{given}'",
        status=HTTPStatus.NOT_FOUND,
        code="resource_missing",
        param=param,
    )


def missing_param(param: str) -> PaymentsError:
    return PaymentsError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def unauthorized(message: str) -> PaymentsError:
    return PaymentsError(message, status=HTTPStatus.UNAUTHORIZED, kind="authentication_error")
