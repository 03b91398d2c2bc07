//! Answers of the API: wire structs, the schema of the manifest, rows as JSON text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    match seakernel::fuzzing::inline_rows(answer) {
        Some(Ok(batch)) => {
            for column in batch.columns() {
                assert_eq!(column.len(), batch.num_rows());
                column.to_data().validate_full().expect("an accepted column is valid Arrow");
            }
            let again = seakernel::fuzzing::inline_rows(answer);
            assert_eq!(again.and_then(Result::ok), Some(batch), "the same answer gives the same rows");
        }
        Some(Err(error)) => drop(format!("{error} {error:?}")),
        None => {}
    }
});
