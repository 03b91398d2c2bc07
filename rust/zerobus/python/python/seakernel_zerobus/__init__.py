"""Arrow batches into Databricks tables by Zerobus; its names are those of `seakernel.zerobus`."""

from seakernel_zerobus._seakernel_zerobus import TransmissionResult, WrapperConfiguration, ZerobusWrapper
from seakernel_zerobus.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ConnectionError,  # noqa: A004 - it is the builtin one, too
    ConversionError,
    RetryExhausted,
    TokenRefreshError,
    TransmissionError,
    ZerobusError,
)

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionError",
    "ConversionError",
    "RetryExhausted",
    "TokenRefreshError",
    "TransmissionError",
    "TransmissionResult",
    "WrapperConfiguration",
    "ZerobusError",
    "ZerobusWrapper",
]
