//! Which endpoint a request is for.

use hyper::Method;

use crate::faults::Operation;
use crate::identity::IdentityRoute;

/// An endpoint of the API origin, with the ids in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'path> {
    WellKnownConfig,
    Identity(IdentityRoute<'path>),
    OpenSession { warehouse_id: Option<&'path str> },
    CloseSession { session_id: &'path str },
    Execute,
    Poll { statement_id: &'path str },
    Cancel { statement_id: &'path str },
    CloseStatement { statement_id: &'path str },
    Chunk { statement_id: &'path str, chunk_index: &'path str },
    Warehouses,
    Warehouse { warehouse_id: &'path str },
    FeatureFlags,
    Telemetry,
    Thrift,
    Unknown,
}

impl<'path> Route<'path> {
    /// Finds the endpoint; a slash at the end makes no difference.
    pub(crate) fn of(method: &Method, path: &'path str) -> Self {
        let segments: Vec<&str> = path.trim_matches('/').split('/').take(10).collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", [".well-known", "databricks-config"]) => Self::WellKnownConfig,
            ("POST", ["telemetry-ext" | "telemetry-unauth"]) => Self::Telemetry,
            ("POST", ["sql", "1.0", "warehouses" | "endpoints", _] | ["sql", "protocolv1", "o", _, _]) => Self::Thrift,
            (_, ["api", "2.0", "connector-service", "feature-flags", ..]) => Self::FeatureFlags,
            (method, ["api", "2.0", "sql", rest @ ..]) => Self::of_sql(method, rest),
            (method, segments) => IdentityRoute::of(method, segments).map_or(Self::Unknown, Self::Identity),
        }
    }

    fn of_sql(method: &str, segments: &[&'path str]) -> Self {
        match (method, segments) {
            ("POST", ["sessions"]) => Self::OpenSession { warehouse_id: None },
            ("POST", ["warehouses", warehouse_id, "sessions"]) => {
                Self::OpenSession { warehouse_id: Some(warehouse_id) }
            }
            ("DELETE", ["sessions", session_id] | ["warehouses", _, "sessions", session_id]) => {
                Self::CloseSession { session_id }
            }
            ("POST", ["statements"]) => Self::Execute,
            ("GET", ["statements", statement_id]) => Self::Poll { statement_id },
            ("DELETE", ["statements", statement_id]) => Self::CloseStatement { statement_id },
            ("POST", ["statements", statement_id, "cancel"]) => Self::Cancel { statement_id },
            ("GET", ["statements", statement_id, "result", "chunks", chunk_index]) => {
                Self::Chunk { statement_id, chunk_index }
            }
            ("GET", ["warehouses"]) => Self::Warehouses,
            ("GET", ["warehouses", warehouse_id]) => Self::Warehouse { warehouse_id },
            _ => Self::Unknown,
        }
    }

    /// The operation faults and the log know the endpoint by.
    pub(crate) fn operation(&self) -> Option<Operation> {
        Some(match self {
            Self::OpenSession { .. } => Operation::OpenSession,
            Self::CloseSession { .. } => Operation::CloseSession,
            Self::Execute => Operation::Execute,
            Self::Poll { .. } => Operation::Poll,
            Self::Cancel { .. } => Operation::Cancel,
            Self::CloseStatement { .. } => Operation::CloseStatement,
            Self::Chunk { .. } => Operation::Chunk,
            Self::Identity(route) => route.operation(),
            _ => return None,
        })
    }

    /// The statement in the path.
    pub(crate) fn statement_id(&self) -> Option<&'path str> {
        match self {
            Self::Poll { statement_id }
            | Self::Cancel { statement_id }
            | Self::CloseStatement { statement_id }
            | Self::Chunk { statement_id, .. } => Some(statement_id),
            _ => None,
        }
    }

    /// The chunk in the path.
    pub(crate) fn chunk_index(&self) -> Option<u64> {
        match self {
            Self::Chunk { chunk_index, .. } => chunk_index.parse().ok(),
            _ => None,
        }
    }

    /// Whether anybody may ask, as on a real workspace before sign-in.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Self::WellKnownConfig | Self::Identity(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_with_and_without_a_trailing_slash() {
        for (method, path, route) in [
            (Method::POST, "/api/2.0/sql/sessions", Route::OpenSession { warehouse_id: None }),
            (Method::POST, "/api/2.0/sql/warehouses/w1/sessions", Route::OpenSession { warehouse_id: Some("w1") }),
            (Method::DELETE, "/api/2.0/sql/sessions/s1", Route::CloseSession { session_id: "s1" }),
            (Method::POST, "/api/2.0/sql/statements", Route::Execute),
            (Method::GET, "/api/2.0/sql/statements/a", Route::Poll { statement_id: "a" }),
            (Method::POST, "/api/2.0/sql/statements/a/cancel", Route::Cancel { statement_id: "a" }),
            (
                Method::GET,
                "/api/2.0/sql/statements/a/result/chunks/7",
                Route::Chunk { statement_id: "a", chunk_index: "7" },
            ),
            (Method::POST, "/sql/1.0/warehouses/w1", Route::Thrift),
            (Method::GET, "/oidc/.well-known/oauth-authorization-server", Route::Identity(IdentityRoute::Discovery)),
            (Method::POST, "/oidc/v1/token", Route::Identity(IdentityRoute::Token)),
            (Method::GET, "/aad/auth", Route::Identity(IdentityRoute::AzureTenant)),
            (Method::PUT, "/api/2.0/sql/statements", Route::Unknown),
            (Method::GET, "/", Route::Unknown),
        ] {
            assert_eq!(Route::of(&method, path), route, "{path}");
            assert_eq!(Route::of(&method, &format!("{path}/")), route, "{path}/");
        }
    }
}
