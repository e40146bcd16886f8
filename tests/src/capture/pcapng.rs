//! A recording as a pcapng file, for Wireshark.

use std::{borrow::Cow, collections::HashMap, fs::File, io::BufWriter, path::Path, time::Duration};

use anyhow::Result;
use pcap_file::{
    DataLink,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::{Direction, Recording};

/// if_tsresol: times are in units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;

// epb_flags: direction, bits 0 and 1.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes a recording, one interface a point.
pub(super) fn write(recording: &Recording, path: &Path) -> Result<()> {
    let mut writer = PcapNgWriter::new(BufWriter::new(File::create(path)?))?;
    let mut interfaces = HashMap::new();
    for (number, point) in (0..).zip(&recording.points) {
        interfaces.insert(point.clone(), number);
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        interface.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(point.to_string())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        writer.write_pcapng_block(interface)?;
    }
    for frame in &recording.frames {
        let flags = match frame.direction {
            Direction::In => INBOUND,
            Direction::Out => OUTBOUND,
        };
        writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: interfaces[&frame.point],
            timestamp: Duration::from_nanos(frame.at_ns),
            original_len: u32::try_from(frame.bytes.len())?,
            data: Cow::Borrowed(&frame.bytes),
            options: vec![EnhancedPacketOption::Flags(flags)],
        })?;
    }
    // Dropping the buffer would hide a full disk.
    std::io::Write::flush(writer.get_mut())?;
    Ok(())
}
