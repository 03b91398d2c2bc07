"""Arrow batches into Databricks tables by Zerobus: every row is acknowledged, or named with its error.

Needs `seakernel-zerobus`: `pip install 'seakernel[zerobus]'`.
"""

from __future__ import annotations

try:
    from seakernel_zerobus import (
        AuthenticationError,
        ConfigurationError,
        ConnectionError,  # noqa: A004 - it is the builtin one, too
        ConversionError,
        RetryExhausted,
        TokenRefreshError,
        TransmissionError,
        TransmissionResult,
        WrapperConfiguration,
        ZerobusError,
        ZerobusWrapper,
    )
except ModuleNotFoundError as error:
    if error.name != "seakernel_zerobus":
        raise
    _message = "`seakernel.zerobus` needs `seakernel-zerobus`: `pip install 'seakernel[zerobus]'`"
    raise ModuleNotFoundError(_message, name="seakernel_zerobus") from None

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
