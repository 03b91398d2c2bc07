//! Runs the server until standard input ends: options as a JSON argument, addresses and credentials as a line of JSON.

use std::io::{self, Read as _, Write as _};

use seakernel_zerobus_local::{ServerOptions, ZerobusServer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = std::env::args().nth(1).unwrap_or_else(|| "{}".to_owned());
    let server = ZerobusServer::start(ServerOptions::from_json(&options)?)?;
    let started = serde_json::json!({
        "endpoint": server.endpoint(),
        "unity_catalog_url": server.unity_catalog_url(),
        "client_id": server.client_id(),
        "client_secret": server.client_secret(),
    });
    writeln!(io::stdout(), "{started}")?;
    // Whoever started the server ends it by going away.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
