//! Reading an entry's file, with every byte verified before it is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::entry::Head;
use super::format::{
    Area, BLOCK, MOST_HEAD, PREAMBLE, Preamble, blocks, decode_head, encode_head, room_for,
};

/// Read first; holds the head of nearly every file, and all of a small one.
const FIRST: usize = 16 << 10;

/// An open file whose preamble is right.
#[derive(Debug)]
pub struct EntryFile {
    file: File,
    /// Its length.
    pub length: u64,
    /// What it says of itself.
    pub preamble: Preamble,
    /// Its first bytes.
    first: Vec<u8>,
}

/// A file cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// There is none.
    Missing,
    /// It is not what was written.
    Broken,
    /// The system says so.
    Io(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            // It ends before what its preamble speaks of.
            io::ErrorKind::UnexpectedEof => Self::Broken,
            _ => Self::Io(error),
        }
    }
}

impl EntryFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_with(path, File::options().read(true))
    }

    fn open_with(path: &Path, options: &mut OpenOptions) -> Result<Self, FileError> {
        // What is found under an entry's name need not be a file of ours: a link could lead to
        // somebody else's, and a pipe would keep a thread waiting for ever.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = match options.custom_flags(flags.bits()).open(path) {
            Err(error) if is_not_ours(&error) => return Err(FileError::Broken),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(FileError::Broken);
        }
        let length = metadata.len();
        let mut first = vec![0; FIRST.min(usize::try_from(length).unwrap_or(FIRST))];
        file.read_exact_at(&mut first, 0)?;
        let preamble = Preamble::decode(&first, length).ok_or(FileError::Broken)?;
        Ok(Self {
            file,
            length,
            preamble,
            first,
        })
    }

    /// The key and the head.
    pub fn head(&self) -> Result<(Box<[u8]>, Head), FileError> {
        let bytes = self.part(self.preamble.head.at, self.preamble.head_length as usize)?;
        if crc32fast::hash(&bytes) != self.preamble.head_checksum {
            return Err(FileError::Broken);
        }
        decode_head(&bytes).ok_or(FileError::Broken)
    }

    /// The checksums of the body's blocks.
    pub fn table(&self) -> Result<Vec<u32>, FileError> {
        let length = 4 * blocks(self.preamble.body_length) as usize;
        let at = self.preamble.body_at + self.preamble.body_length;
        let bytes = self.part(at, length)?;
        if crc32fast::hash(&bytes) != self.preamble.table_checksum {
            return Err(FileError::Broken);
        }
        let numbers = bytes.chunks_exact(4);
        Ok(numbers
            .map(|number| u32::from_le_bytes(number.try_into().unwrap_or_default()))
            .collect())
    }

    /// Some blocks of the body (`first` counts from 0), verified.
    pub fn blocks(&self, table: &[u32], first: u64, count: u64) -> Result<Bytes, FileError> {
        let start = first * BLOCK as u64;
        let end = (start + count * BLOCK as u64).min(self.preamble.body_length);
        let bytes = self.part(self.preamble.body_at + start, (end - start) as usize)?;
        let expected = table.get(first as usize..).unwrap_or_default();
        let mut blocks = bytes.chunks(BLOCK).zip(expected);
        if blocks.any(|(block, checksum)| crc32fast::hash(block) != *checksum)
            || expected.len() < bytes.len().div_ceil(BLOCK)
        {
            return Err(FileError::Broken);
        }
        Ok(bytes.into())
    }

    /// The whole body, verified; `table` as [`Self::table`] gives it.
    pub fn body(&self, table: &[u32]) -> Result<Bytes, FileError> {
        self.blocks(table, 0, blocks(self.preamble.body_length))
    }

    fn part(&self, at: u64, length: usize) -> Result<Vec<u8>, FileError> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let end = start.saturating_add(length);
        if let Some(part) = self.first.get(start..end) {
            return Ok(part.to_vec());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

/// Does the system say so of what is no plain file: a link, a socket, a directory?
fn is_not_ours(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ELOOP | Errno::ENXIO | Errno::EISDIR))
}

/// Puts another head into the file of an entry. Whoever reads it meanwhile finds the old one or the
/// new one. Its length afterwards.
pub fn renew(path: &Path, serial: u64, key: &[u8], head: &Head) -> Result<u64, FileError> {
    let encoded = encode_head(key, head);
    if encoded.len() > MOST_HEAD {
        return Err(FileError::Broken);
    }
    let length = encoded.len();
    let EntryFile {
        file, mut preamble, ..
    } = EntryFile::open_with(path, File::options().read(true).write(true))?;
    if preamble.serial != serial {
        return Err(FileError::Missing);
    }
    let mut end = file.metadata()?.len();
    let mut area = preamble.spare;
    if (area.room as usize) < length {
        area = Area {
            at: end,
            room: room_for(length),
        };
        end += u64::from(area.room);
        file.set_len(end)?;
    }
    file.write_all_at(&encoded, area.at)?;
    preamble.spare = preamble.head;
    preamble.head = area;
    preamble.head_length = length as u32;
    preamble.head_checksum = crc32fast::hash(&encoded);
    file.write_all_at(&preamble.encode(), 0)?;
    Ok(end)
}

/// Writes a file: first the body, block by block, then the rest.
#[derive(Debug)]
pub struct Writer {
    head: Vec<u8>,
    room: u32,
    table: Vec<u8>,
    length: u64,
}

impl Writer {
    /// For this head; `None` if it is too long.
    pub fn new(key: &[u8], head: &Head) -> Option<Self> {
        let head = encode_head(key, head);
        (head.len() <= MOST_HEAD).then(|| Self {
            room: room_for(head.len()),
            head,
            table: Vec::new(),
            length: 0,
        })
    }

    /// Where the body begins.
    pub fn body_at(&self) -> u64 {
        PREAMBLE as u64 + u64::from(self.room)
    }

    /// Writes the next block, which is whole unless it is the last one. Its checksum.
    pub fn block(&mut self, file: &File, block: &[u8]) -> io::Result<u32> {
        let checksum = crc32fast::hash(block);
        file.write_all_at(block, self.body_at() + self.length)?;
        self.length += block.len() as u64;
        self.table.extend_from_slice(&checksum.to_le_bytes());
        Ok(checksum)
    }

    /// Writes all that is not the body. The length of the file.
    pub fn finish(&self, file: &File, serial: u64) -> io::Result<u64> {
        let body_at = self.body_at();
        file.write_all_at(&self.table, body_at + self.length)?;
        let preamble = Preamble {
            serial,
            head: Area {
                at: PREAMBLE as u64,
                room: self.room,
            },
            head_length: self.head.len() as u32,
            head_checksum: crc32fast::hash(&self.head),
            spare: Area::default(),
            body_at,
            body_length: self.length,
            table_checksum: crc32fast::hash(&self.table),
        };
        let mut front = Vec::with_capacity(body_at as usize);
        front.extend_from_slice(&preamble.encode());
        front.extend_from_slice(&self.head);
        // The room behind the head is a hole unless there is a body; then it must be there at all.
        front.resize(body_at as usize, 0);
        file.write_all_at(&front, 0)?;
        Ok(body_at + self.length + self.table.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(fields: usize) -> Head {
        Head {
            status: 200,
            fields: vec![b'x'; fields].into(),
            ..Head::default()
        }
    }

    fn written(path: &Path, body: &[u8]) {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .expect("created");
        let mut writer = Writer::new(b"key", &head(100)).expect("short");
        for block in body.chunks(BLOCK) {
            writer.block(&file, block).expect("written");
        }
        let length = writer.finish(&file, 7).expect("written");
        assert_eq!(length, file.metadata().expect("there").len());
    }

    fn body(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 251 + at) as u8).collect()
    }

    fn read(path: &Path) -> Result<(Head, Bytes), FileError> {
        let file = EntryFile::open(path)?;
        let (key, head) = file.head()?;
        assert_eq!(*key, *b"key");
        let body = file.body(&file.table()?)?;
        Ok((head, body))
    }

    #[test]
    fn what_was_written_is_read_at_every_length() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for length in [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17] {
            let body = body(length);
            written(&path, &body);
            assert_eq!(read(&path).expect("whole"), (head(100), body.into()));
        }
    }

    #[test]
    fn a_head_can_be_renewed_again_and_again_and_the_file_does_not_grow_without_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let body = body(BLOCK + 5);
        written(&path, &body);
        let mut lengths = Vec::new();
        for round in 0..50 {
            let head = head(100 + round % 7);
            lengths.push(renew(&path, 7, b"key", &head).expect("renewed"));
            assert_eq!(read(&path).expect("whole"), (head, body.clone().into()));
        }
        assert_eq!(lengths[1], lengths[49]);
        let long = head(5000);
        renew(&path, 7, b"key", &long).expect("renewed");
        assert_eq!(read(&path).expect("whole"), (long, body.into()));
        let other = renew(&path, 8, b"key", &head(1));
        assert!(matches!(other, Err(FileError::Missing)));
    }

    proptest! {
        #[test]
        fn a_file_that_was_changed_or_cut_anywhere_is_never_read_as_something_else(
            at in any::<prop::sample::Index>(),
            cut in any::<bool>(),
            flip in 1u8..,
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("file");
            let body = body(BLOCK + 100);
            written(&path, &body);
            let mut bytes = std::fs::read(&path).expect("readable");
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= flip,
            }
            std::fs::write(&path, &bytes).expect("written");
            // What nobody reads may be changed: the room behind the head.
            if let Ok(read) = read(&path) {
                prop_assert!(!cut);
                prop_assert_eq!(read, (head(100), body.into()));
            }
        }
    }
}
