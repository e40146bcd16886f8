//! The kernel's side of the traits in [`gateway_ebpf::packet`].

pub(crate) mod ctx;
pub(crate) mod maps;
