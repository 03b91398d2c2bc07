"""Azure through the stand-in for the original kernel, which knows Entra by its public address only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mitmproxy_process import running

import seakernel
from seakernel.compat import databricks_sql_kernel as compat
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from pathlib import Path

ENTRA = "login.microsoftonline.com"
RESOURCE_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Databricks/workspaces/w"


def test_a_service_principal_of_entra_signs_in_through_the_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = {
        "client_secret": "canary-azure-secret",
        "workspace_resource_id": RESOURCE_ID,
        "require_management_token": True,
    }
    oauth: Any = {"azure": azure}
    with (
        LocalWarehouse(oauth=oauth) as warehouse,
        running(warehouse, tmp_path, ["regular"], workspace_names=(ENTRA,)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.authority))
        keywords: dict[str, Any] = {
            "auth_type": "azure-sp-m2m",
            "azure_client_id": warehouse.identity.azure_client_id,
            "azure_client_secret": "canary-azure-secret",
            "azure_workspace_resource_id": RESOURCE_ID,
        }
        session = compat.Session(warehouse.server_hostname, warehouse.http_path, **keywords)
        try:
            statement = session.statement()
            statement.set_sql("SELECT 1 AS one")
            assert statement.execute().fetch_all_arrow().to_pylist() == [{"one": 1}]
        finally:
            session.close()
        # The tenant was found at the workspace, and both tokens at Entra.
        tenant = warehouse.identity.azure_tenant_id
        passed = [(flow["scheme"], flow["host"], flow["path"]) for flow in proxy.flows()]
        assert passed == [("https", ENTRA, f"/{tenant}/oauth2/v2.0/token")] * 2
        sent = [request for request in warehouse.requests() if request["operation"] == "execute"]
        assert "x-databricks-azure-sp-management-token" in sent[-1]["headers"]
        wrong = {**keywords, "azure_client_secret": "canary-wrong"}
        with pytest.raises((compat.KernelError, seakernel.Error), match=f"{ENTRA}:443 answered HTTP 40"):
            compat.Session(warehouse.server_hostname, warehouse.http_path, **wrong)
