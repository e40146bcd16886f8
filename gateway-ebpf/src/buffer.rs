//! A frame in a `Vec`: what the packet path runs on outside the kernel.

use std::vec::Vec;

use gateway_common::Reason;

use crate::{
    headers::Ethernet,
    packet::{Header, Packet},
};

/// A frame with room in front of it, as a driver hands it over.
#[derive(Clone, Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    head: usize,
    /// Where the first of the driver's buffers ends: headers can be viewed up to there.
    end_of_first: usize,
    ingress: u32,
}

impl Buffer {
    /// A frame that came in by the interface `ingress`, with `headroom` bytes in front.
    pub fn new(frame: &[u8], headroom: usize, ingress: u32) -> Self {
        let mut bytes = Vec::with_capacity(headroom + frame.len());
        // Not zeroes: whoever pushes headers must write all of them.
        bytes.resize(headroom, 0xa5);
        bytes.extend_from_slice(frame);
        Self {
            end_of_first: bytes.len(),
            bytes,
            head: headroom,
            ingress,
        }
    }

    /// The same frame in several buffers, as jumbo frames come: so many bytes are in the
    /// first.
    #[must_use]
    pub fn in_several(mut self, first: usize) -> Self {
        self.end_of_first = self.bytes.len().min(self.head + first);
        self
    }

    /// The frame as it is now.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[self.head..]
    }
}

impl Packet for Buffer {
    fn len(&self) -> usize {
        self.frame().len()
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        let first = &self.bytes[..self.end_of_first];
        let bytes = first.get(self.head + offset..)?.get(..size_of::<T>())?;
        T::ref_from_bytes(bytes).ok()
    }

    fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        let first = &mut self.bytes[..self.end_of_first];
        let bytes = first
            .get_mut(self.head + offset..)?
            .get_mut(..size_of::<T>())?;
        T::mut_from_bytes(bytes).ok()
    }

    fn push(&mut self, bytes: usize) -> Result<(), Reason> {
        self.head = self.head.checked_sub(bytes).ok_or(Reason::HeadRoom)?;
        Ok(())
    }

    fn truncate(&mut self, length: usize) -> Result<(), Reason> {
        if length < Ethernet::LEN || length > self.len() {
            return Err(Reason::HeadRoom);
        }
        self.bytes.truncate(self.head + length);
        self.end_of_first = self.end_of_first.min(self.bytes.len());
        Ok(())
    }

    fn lengthen(&mut self, bytes: usize) -> Result<(), Reason> {
        let is_one = self.end_of_first == self.bytes.len();
        self.bytes.resize(self.bytes.len() + bytes, 0);
        if is_one {
            self.end_of_first = self.bytes.len();
        }
        Ok(())
    }

    /// Like `bpf_xdp_adjust_head`, keeps at least an Ethernet header.
    fn pop(&mut self, bytes: usize) -> Result<(), Reason> {
        if self.len() < bytes + Ethernet::LEN {
            return Err(Reason::HeadRoom);
        }
        self.head += bytes;
        Ok(())
    }
}
