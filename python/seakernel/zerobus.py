"""Arrow batches into Databricks tables by Zerobus: every row is acknowledged, or named with its error.

Needs `seakernel-zerobus`: `pip install 'seakernel[zerobus]'`.

Example:
    >>> import pyarrow
    >>> from seakernel.local import LocalWarehouse
    >>> from seakernel.zerobus import ZerobusWrapper
    >>> with LocalWarehouse(zerobus=True) as warehouse, warehouse.connect() as connection:
    ...     _ = connection.cursor().execute("CREATE TABLE main.default.orders (id BIGINT, item STRING)")
    ...     service = warehouse.zerobus
    ...     sign_in = {"client_id": service.client_id, "client_secret": service.client_secret}
    ...     place = {"endpoint": service.endpoint, "unity_catalog_url": service.unity_catalog_url}
    ...     with ZerobusWrapper(table_name="main.default.orders", **place, **sign_in) as wrapper:
    ...         wrapper.send_batch_sync(pyarrow.record_batch({"id": [1, 2], "item": ["tea", None]}))
    TransmissionResult(success=True, total_rows=2, successful_count=2, failed_count=0, attempts=1)
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
