//! The XDP object, as `cargo xtask build` built it, inside this program.

use anyhow::Result;

/// BPF objects are read in place, as ELF structures: they want alignment.
#[cfg(xdp_object)]
#[repr(C, align(32))]
struct Aligned<T: ?Sized>(T);

#[cfg(xdp_object)]
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/gateway-ebpf")));

/// The XDP object's bytes; an error where this program was built without it.
#[cfg(xdp_object)]
pub fn object() -> Result<&'static [u8]> {
    Ok(&OBJECT.0)
}

/// The XDP object's bytes; an error where this program was built without it.
#[cfg(not(xdp_object))]
pub fn object() -> Result<&'static [u8]> {
    anyhow::bail!("the XDP object is not built: type cargo xtask build")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_aligned_elf_or_says_what_to_type() {
        match object() {
            Ok(bytes) => {
                assert_eq!(&bytes[..4], b"\x7fELF");
                assert_eq!(bytes.as_ptr().align_offset(32), 0);
            }
            Err(error) => assert!(error.to_string().contains("cargo xtask build")),
        }
    }
}
