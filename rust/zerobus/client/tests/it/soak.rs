//! Many sends while the service is as it is on a common day, or worse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use seakernel_zerobus::ZerobusWrapper;
use seakernel_zerobus_local::Settings;

use crate::{assert_no_violations, batch, config, faults, send, server_with, stored};

const SENDERS: usize = 32;
const ROWS: i64 = 5;

/// Streams that rotate and break, tokens of seconds, slow acknowledgements: no send fails and no row is lost. With
/// `SEAKERNEL_ZEROBUS_SENDS=300000` and none failed, 99.999 % succeed at a confidence of 95 %.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f44_no_send_fails_under_common_disturbances() {
    let sends: i64 = std::env::var("SEAKERNEL_ZEROBUS_SENDS").map_or(3000, |sends| sends.parse().unwrap());
    let server = server_with(Settings { ack_delay_spread_ms: 50, token_life_s: 5, ..Settings::default() });
    faults(
        &server,
        r#"[
            {"on": "open", "times": "always", "do": {"close": {"after_ms": 2000, "ms": 500}}},
            {"on": "message", "times": "always", "probability": 0.0001, "do": {"break": {"by": "reset"}}},
            {"on": "message", "times": "always", "probability": 0.001, "do": {"status": {"code": "UNAVAILABLE"}}}
        ]"#,
    );
    let wrapper = ZerobusWrapper::new(config(&server)).await.unwrap();
    let next = Arc::new(AtomicI64::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (wrapper, next) = (wrapper.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= sends {
                        return;
                    }
                    let result = send(&wrapper, batch(number * ROWS..(number + 1) * ROWS)).await;
                    assert_eq!(result.successful_count, ROWS as usize, "send {number}: {result:?}");
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    wrapper.shutdown().await.unwrap();
    let found: BTreeMap<i64, u64> = stored(&server).into_iter().collect();
    let lost: Vec<i64> = (0..sends * ROWS).filter(|id| !found.contains_key(id)).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(found.len() as i64, sends * ROWS);
    let twice = found.values().filter(|times| **times > 1).count();
    let log = server.log();
    eprintln!(
        "{sends} sends, 0 failed, 0 rows lost, {twice} of {} rows stored more than once, {} streams",
        found.len(),
        log.opens
    );
    assert_no_violations(&server);
}
