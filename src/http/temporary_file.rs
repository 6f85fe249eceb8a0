//! Files that hold a body for the length of its request.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that is removed when it is no longer needed.
#[derive(Debug)]
pub struct TemporaryFile {
    file: File,
    path: PathBuf,
    length: u64,
    is_kept: bool,
}

impl TemporaryFile {
    /// A new file in a directory, which is made if it is missing; readable by its owner only.
    pub fn create(directory: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut tries = 0;
        loop {
            let name = format!(
                "{:010}-{}",
                COUNT.fetch_add(1, Ordering::Relaxed),
                std::process::id()
            );
            let path = directory.join(name);
            match File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        length: 0,
                        is_kept: false,
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries == 0 => {
                    std::fs::create_dir_all(directory)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < 100 => {}
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the file system is full or fails.
    pub fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// It stays where it is when it is no longer needed here.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// How many bytes it holds.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads on from where the last read ended.
    pub fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(piece)
    }

    /// The next read begins at the start.
    pub fn rewind(&mut self) -> std::io::Result<()> {
        self.file.rewind()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Whoever removed it before us did our work.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_is_made_with_its_directory_and_removed_with_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("client_body_temp");
        let mut file = TemporaryFile::create(&place).expect("created");
        file.append(b"abc").expect("written");
        let path = file.path().to_owned();
        assert_eq!(std::fs::read(&path).expect("readable"), b"abc");
        drop(file);
        assert!(!path.exists());
    }
}
