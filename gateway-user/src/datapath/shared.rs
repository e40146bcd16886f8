//! A BPF array mapped into the agent's memory, so that an update is a store.

use std::{
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An array map that the program reads while the agent writes.
#[derive(Debug)]
pub(super) struct SharedArray<T> {
    words: NonNull<AtomicU64>,
    elements: usize,
    bytes: NonZeroUsize,
    element: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value, and all access is by atomic words.
unsafe impl<T> Send for SharedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SharedArray<T> {}

impl<T: FromBytes + IntoBytes + Immutable> SharedArray<T> {
    const WORDS: usize = {
        assert!(
            size_of::<T>().is_multiple_of(8),
            "array elements are padded to 8 bytes"
        );
        size_of::<T>() / 8
    };

    /// Maps an array map that was made with `BPF_F_MMAPABLE`.
    pub(super) fn new(map: impl AsFd, elements: u32) -> io::Result<Self> {
        let elements = elements as usize;
        let page = 4096;
        let bytes = NonZeroUsize::new((elements * size_of::<T>()).next_multiple_of(page))
            .ok_or_else(|| io::Error::other("an array map has at least one element"))?;
        // SAFETY: a new shared mapping at an address of the kernel's choice. The
        // kernel keeps the map's memory as long as it is mapped.
        let words = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map,
                0,
            )?
        };
        Ok(Self {
            words: words.cast(),
            elements,
            bytes,
            element: PhantomData,
        })
    }

    /// Elements in the array.
    pub(super) fn len(&self) -> usize {
        self.elements
    }

    /// Stores an element word by word, the last word first.
    ///
    /// Each word changes at once; words of one element change one after the other.
    /// Elements that packets already use must therefore differ in one word only,
    /// or be unreachable while they change.
    pub(super) fn set(&self, index: usize, value: &T) {
        for (offset, chunk) in value.as_bytes().chunks_exact(8).enumerate().rev() {
            let word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8 bytes"));
            self.word(index, offset).store(word, Ordering::Release);
        }
        fence(Ordering::SeqCst);
    }

    /// Whether an element is this one.
    pub(super) fn holds(&self, index: usize, value: &T) -> bool {
        value
            .as_bytes()
            .chunks_exact(8)
            .enumerate()
            .all(|(offset, chunk)| {
                let word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8 bytes"));
                self.word(index, offset).load(Ordering::Acquire) == word
            })
    }

    /// Reads an element.
    /// Reads an element, word by word.
    pub(super) fn get(&self, index: usize) -> T {
        let words: Vec<u64> = (0..Self::WORDS)
            .map(|offset| self.word(index, offset).load(Ordering::Acquire))
            .collect();
        T::read_from_bytes(words.as_bytes()).expect("as many bytes as the element has")
    }

    /// One word of an element.
    pub(super) fn word(&self, index: usize, offset: usize) -> &AtomicU64 {
        assert!(
            index < self.elements && offset < Self::WORDS,
            "element {index} is in the array"
        );
        // SAFETY: in bounds, aligned (elements are multiples of 8 bytes on a page),
        // and mapped as long as `self` lives.
        unsafe { self.words.add(index * Self::WORDS + offset).as_ref() }
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; no reference outlives `self`.
        // Failure would mean a wrong length, which it is not; nothing to do about it.
        let _ = unsafe { munmap(self.words.cast(), self.bytes.get()) };
    }
}
