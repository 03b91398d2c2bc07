"""What can go wrong, by what the caller can do about it."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from seakernel_zerobus._seakernel_zerobus import TransmissionResult

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionError",
    "ConversionError",
    "RetryExhausted",
    "TokenRefreshError",
    "TransmissionError",
    "ZerobusError",
]


class ZerobusError(Exception):
    """Base of the failures of `seakernel.zerobus`. Instances can be pickled, and hold no token and no secret.

    Example:
        >>> from seakernel.zerobus import WrapperConfiguration, ZerobusError
        >>> try:
        ...     WrapperConfiguration("host", "main.default.orders").validate()
        ... except ZerobusError as error:
        ...     error.error_type, error.retryable
        ('ConfigurationError', False)

    Attributes:
        message: The text, without what `str` puts in front.
        error_type: The name of the class.
        grpc_code: The gRPC status code, such as `INVALID_ARGUMENT`, where the service gave one.
        server_code: The service's own code, such as `6006`.
        retryable: Whether it may help to send the same again.
        result: What became of the rows that were sent before, where a stream of batches broke off; not in a pickle.
    """

    result: TransmissionResult | None = None
    _prefix: ClassVar[str] = ""
    _retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        grpc_code: str | None = None,
        server_code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.grpc_code = grpc_code
        self.server_code = server_code
        self.retryable = self._retryable if retryable is None else retryable

    @property
    def error_type(self) -> str:
        """The name of the class."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self._prefix}{self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        fields = {name: value for name, value in vars(self).items() if name != "result"}
        return type(self), (self.message,), fields


class ConfigurationError(ZerobusError):
    """An option, a descriptor or the schema is wrong, or the wrapper was shut down.

    Example:
        >>> from seakernel.zerobus import WrapperConfiguration
        >>> WrapperConfiguration("host", "main.default.orders").validate()
        Traceback (most recent call last):
            ...
        seakernel_zerobus.exceptions.ConfigurationError: Configuration error: `zerobus_endpoint` is `host`; accepted: ...
    """

    _prefix = "Configuration error: "


class AuthenticationError(ZerobusError):
    """The credentials were refused, with a new token as well."""

    _prefix = "Authentication error: "


class ConnectionError(ZerobusError, builtins.ConnectionError):  # noqa: A001 - it is the builtin one, too
    """The service cannot be reached, the stream broke, an acknowledgement did not come in time, or writes are paused.

    Example:
        >>> import builtins
        >>> from seakernel import zerobus
        >>> issubclass(zerobus.ConnectionError, builtins.ConnectionError)
        True
    """

    _prefix = "Connection error: "
    _retryable = True


class ConversionError(ZerobusError):
    """A row, or a whole schema, cannot be written as Protobuf."""

    _prefix = "Conversion error: "


class TransmissionError(ZerobusError):
    """The service refused the data."""

    _prefix = "Transmission error: "


class RetryExhausted(ZerobusError):  # noqa: N818 - the name that callers know
    """All attempts are used; the text has their count and the last error."""

    _prefix = "Retry exhausted: "


class TokenRefreshError(ZerobusError):
    """No token could be had, and none is left."""

    _prefix = "Token refresh error: "
    _retryable = True
