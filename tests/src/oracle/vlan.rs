//! A public network in VLANs (IEEE 802.1Q): four bytes behind the MACs.

use gateway_common::Reason;

use super::{
    Fate, Oracle, Seen,
    wire::{ethertype, word},
};

/// Where a tag lies.
const TAG: std::ops::Range<usize> = 12..16;

/// Whether a frame has an 802.1Q tag.
pub(super) fn is_tagged(frame: &[u8]) -> bool {
    frame.len() >= 14 && word(frame, 12) == ethertype::VLAN
}

/// A frame with this tag control: priority, "drop eligible", identifier.
pub(super) fn with_tag(frame: &[u8], control: u16) -> Vec<u8> {
    let tag = [ethertype::VLAN.to_be_bytes(), control.to_be_bytes()].concat();
    [&frame[..TAG.start], &tag, &frame[TAG.start..]].concat()
}

impl Oracle {
    /// A frame from a public network in VLANs: only ours count.
    pub(super) fn tagged_side(
        &mut self,
        device: u32,
        frame: &[u8],
        seen: &Seen<'_>,
    ) -> Result<Fate, Reason> {
        if frame.len() < 14 {
            return Err(Reason::Truncated);
        }
        match word(frame, 12) {
            ethertype::VLAN => {}
            ethertype::QINQ => return Err(Reason::VlanTagged),
            _ => return Err(Reason::Untagged),
        }
        if frame.len() < 18 {
            return Err(Reason::Truncated);
        }
        let control = word(frame, 14);
        let id = control & 0x0fff;
        if !self.site.is_our_vlan(device, id) {
            return Err(Reason::VlanTagged);
        }
        let plain = [&frame[..TAG.start], &frame[TAG.end..]].concat();
        Ok(match self.public_side((device, Some(id)), &plain, seen)? {
            Fate::Answered(reason, answer) => Fate::Answered(reason, with_tag(&answer, control)),
            fate => fate,
        })
    }
}
