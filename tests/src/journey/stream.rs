//! TCP streams put together again, and the TLS records in them (RFC 8446, section 5.1).

use std::collections::BTreeMap;

use super::decode::Segment;

/// Offsets beyond this are no data of ours but a stray sequence number.
const LONGEST: u32 = 1 << 28;

/// One direction of a connection: every byte that was seen anywhere, in order, up to
/// the first gap.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Sequence number of the first byte.
    start: u32,
    pub(super) bytes: Vec<u8>,
}

impl Stream {
    /// Puts segments together. The same bytes may come many times, from many devices.
    pub(super) fn assemble<'s>(segments: impl IntoIterator<Item = &'s Segment<'s>>) -> Self {
        let mut segments: Vec<_> = segments.into_iter().collect();
        segments.sort_by_key(|segment| segment.frame.at_ns);
        let syn = segments.iter().find(|segment| segment.is_syn);
        let start = match (syn, segments.first()) {
            (Some(syn), _) => syn.sequence.wrapping_add(1),
            (None, Some(first)) => first.sequence,
            (None, None) => return Self::default(),
        };
        let mut parts = BTreeMap::new();
        for segment in segments.iter().filter(|segment| !segment.is_syn) {
            let offset = segment.sequence.wrapping_sub(start);
            let longest: &mut &[u8] = parts.entry(offset).or_default();
            if offset < LONGEST && segment.payload.len() > longest.len() {
                *longest = segment.payload;
            }
        }
        let mut bytes = Vec::new();
        for (offset, part) in parts {
            let offset = offset as usize;
            if offset > bytes.len() {
                break;
            }
            bytes.extend_from_slice(part.get(bytes.len() - offset..).unwrap_or_default());
        }
        Self { start, bytes }
    }

    /// Sequence number of the byte at `offset`.
    pub(super) fn sequence(&self, offset: usize) -> u32 {
        self.start.wrapping_add(offset as u32)
    }

    /// Where `needle`, which is not empty, starts.
    pub(super) fn find(&self, needle: &[u8]) -> Option<usize> {
        self.bytes
            .windows(needle.len())
            .position(|window| window == needle)
    }

    /// Where the last `needle`, which is not empty, starts.
    pub(super) fn find_last(&self, needle: &[u8]) -> Option<usize> {
        self.bytes
            .windows(needle.len())
            .rposition(|window| window == needle)
    }
}

/// A TLS record in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    kind: u8,
    /// Where it starts, header included.
    pub(super) offset: usize,
    /// How long it is, header included.
    pub(super) length: usize,
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const RECORD_HEADER: usize = 5;

/// The records of a stream; nothing if it is no TLS.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut offset = 0;
    while let Some([kind @ 20..=23, 3, _, high, low]) = bytes
        .get(offset..offset + RECORD_HEADER)
        .and_then(|header| header.first_chunk())
    {
        let length = RECORD_HEADER + usize::from(u16::from_be_bytes([*high, *low]));
        if offset + length > bytes.len() {
            break;
        }
        records.push(Record {
            kind: *kind,
            offset,
            length,
        });
        offset += length;
    }
    records
}

/// The first record of application data in what a client sends.
///
/// In TLS 1.3 the client's Finished looks like application data too: it is the record
/// that follows the client's ChangeCipherSpec, where TLS 1.2 has a handshake record.
pub(super) fn first_request(bytes: &[u8]) -> Option<Record> {
    let records = records(bytes);
    if records.first()?.kind != HANDSHAKE {
        return None;
    }
    let changed = records
        .iter()
        .position(|record| record.kind == CHANGE_CIPHER_SPEC);
    let mut rest = &records[changed.map_or(0, |at| at + 1)..];
    if changed.is_some() {
        rest = rest.get(1..)?;
    }
    rest.iter()
        .find(|record| record.kind == APPLICATION_DATA)
        .copied()
}

/// Every record of application data, or what looks like it, in what a server sends.
pub(super) fn application_data(bytes: &[u8]) -> Vec<Record> {
    records(bytes)
        .into_iter()
        .filter(|record| record.kind == APPLICATION_DATA)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(kinds: &[(u8, u16)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, length) in kinds {
            bytes.extend([*kind, 3, 3]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(std::iter::repeat_n(0, usize::from(*length)));
        }
        bytes
    }

    #[test]
    fn the_finished_message_of_tls_1_3_is_not_the_request() {
        // ClientHello, ChangeCipherSpec, Finished, request, close.
        let bytes = stream(&[(22, 500), (20, 1), (23, 53), (23, 300), (23, 19)]);
        assert_eq!(first_request(&bytes).map(|record| record.length), Some(305));
    }

    #[test]
    fn in_tls_1_2_the_first_application_data_is_the_request() {
        let bytes = stream(&[(22, 500), (22, 70), (20, 1), (22, 40), (23, 300)]);
        assert_eq!(first_request(&bytes).map(|record| record.length), Some(305));
    }

    #[test]
    fn no_tls_and_half_records_are_nothing() {
        assert_eq!(first_request(b"GET / HTTP/1.1\r\n\r\n"), None);
        let bytes = stream(&[(22, 500), (20, 1), (23, 53), (23, 300)]);
        assert_eq!(first_request(&bytes[..bytes.len() - 1]), None);
        assert_eq!(first_request(&[]), None);
    }
}
