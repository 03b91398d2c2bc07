//! What records are decoded by, and whose the names of files are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::convert::Converter;

/// Bytes of a table's name in names of files, which may have 255 with all that follows.
const MOST_BYTES: usize = 180;

/// Writes the descriptor of `converter` unless it is there; returns its number among those of the table.
pub(super) fn write(folder: &Path, name: &str, converter: &Converter) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    let bytes = converter.descriptor_bytes();
    let mut number = 0;
    loop {
        let stem = if number == 0 { name.to_owned() } else { format!("{name}.{number}") };
        let path = folder.join(format!("{stem}.pb"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                let file = FileDescriptorProto {
                    name: Some(format!("{stem}.proto")),
                    message_type: vec![converter.descriptor().clone()],
                    ..FileDescriptorProto::default()
                };
                fs::write(folder.join(format!("{stem}.fds")), FileDescriptorSet { file: vec![file] }.encode_to_vec())?;
                return Ok(number);
            }
            Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(&path)? == **bytes {
                    return Ok(number);
                }
                number += 1;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// What names of files of `table` begin with: its own with `_` for dots, and a hash where that is another table's, too.
pub(super) fn name_of(folder: &Path, table: &str) -> io::Result<String> {
    let plain = table.replace(['.', '/'], "_");
    let hashed = |name: &str| format!("{name}_{:08x}", hash(table));
    if plain.len() > MOST_BYTES {
        let cut: String = plain.chars().take(MOST_BYTES / 4).collect();
        return Ok(hashed(&cut));
    }
    fs::create_dir_all(folder)?;
    let owner = folder.join(format!("{plain}.table"));
    match OpenOptions::new().write(true).create_new(true).open(&owner) {
        Ok(mut file) => file.write_all(table.as_bytes()).map(|()| plain),
        Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {
            let known = io::read_to_string(File::open(&owner)?)?;
            // Empty while another process is about to write it.
            Ok(if known.is_empty() || known == table { plain } else { hashed(&plain) })
        }
        Err(failure) => Err(failure),
    }
}

/// FNV-1a, the same at any time and place.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
