//! The writer that sends nothing.

use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};

use super::*;

#[tokio::test]
async fn f41_a_disabled_writer_converts_and_sends_nothing() {
    let server = server();
    let folder = std::env::temp_dir().join(format!("seakernel-zerobus-{}", std::process::id()));
    let config = WrapperConfiguration {
        zerobus_endpoint: server.endpoint().to_owned(),
        // Texts from 1000 on are too long.
        max_record_bytes: 12,
        ..WrapperConfiguration::new("https://nowhere.invalid", TABLE)
            .with_debug_output(&folder)
            .with_zerobus_writer_disabled(true)
    };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch(990..1010)).await;
    let failed = result.get_failed_row_indices();
    let expected: Vec<usize> = (10..20).filter(|row| (990 + row) % 7 != 0).collect();
    assert_eq!((failed, result.successful_count), (expected.clone(), 20 - expected.len()));
    assert!(result.error.is_none() && result.uncertain_rows.is_empty() && result.wire_bytes > 0);
    wrapper.flush().await.unwrap();
    wrapper.shutdown().await.unwrap();
    let log = server.log();
    assert_eq!((log.connections, log.token_fetches.len()), (0, 0));
    drop(std::fs::remove_dir_all(folder));
}
